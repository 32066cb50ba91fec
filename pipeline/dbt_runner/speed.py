"""What dbt makes anew for each query and node although it never differs: made once, or faster.

Nothing but time changes. dbt without it, as on the command line, comes to the same.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from threading import local
from types import CodeType
from typing import Any

# After a statement that begins so, a table has the columns that it had before.
_LEAVES_COLUMNS = re.compile(
    r"\s*(/\*.*?\*/\s*)*(select|describe|comment on|insert|update|delete)\b", re.DOTALL | re.I
)


@contextmanager
def lasting() -> Iterator[None]:
    """Make what stays until the end of the process, without a search for garbage in it.

    dbt and the parsed project are half a million objects.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def speed_up() -> None:
    """Let dbt do less in this process, best before its import. A second call changes nothing."""
    _make_methods_when_called()
    _keep_type_testers()
    _keep_templates()
    _keep_schemas()
    _write_events()
    _copy_macros()
    _keep_columns()


def _make_methods_when_called() -> None:
    """Relies on the two functions with which mashumaro gives a class its methods.

    dbt asks for methods that are made when they are first called. Until then mashumaro has two
    thousand others that make them; to compile these takes a third of dbt's import.
    """
    from mashumaro.core.meta.code.builder import CodeBuilder

    mixin: Any = import_module("mashumaro.mixins.dict")
    packers, unpackers = mixin.compile_mixin_packer, mixin.compile_mixin_unpacker
    if hasattr(packers, "mashumaros_own"):
        return

    def compile_packer(cls: Any, format_name: str = "dict", **given: Any) -> None:
        if not _is_lazy(cls):
            packers(cls, format_name, **given)
            return
        name = CodeBuilder(cls).get_pack_method_name((), format_name, given.get("encoder"))

        def first_call(self: Any, *arguments: Any, **options: Any) -> Any:
            builder = CodeBuilder(type(self), **_later(name, format_name, given))
            builder.add_pack_method()
            return getattr(self, name)(*arguments, **options)

        setattr(cls, name, first_call)
        setattr(cls, name.public, first_call)

    def compile_unpacker(cls: Any, format_name: str = "dict", **given: Any) -> None:
        if not _is_lazy(cls):
            unpackers(cls, format_name, **given)
            return
        name = CodeBuilder(cls).get_unpack_method_name((), format_name, given.get("decoder"))

        def first_call(own: Any, *arguments: Any, **options: Any) -> Any:
            builder = CodeBuilder(own, **_later(name, format_name, given))
            builder.add_unpack_method()
            return getattr(own, name)(*arguments, **options)

        setattr(cls, name, classmethod(first_call))
        setattr(cls, name.public, classmethod(first_call))

    compile_packer.mashumaros_own = packers  # type: ignore[attr-defined]
    mixin.compile_mixin_packer = compile_packer
    mixin.compile_mixin_unpacker = compile_unpacker


def _is_lazy(cls: Any) -> bool:
    return bool(getattr(getattr(cls, "Config", None), "lazy_compilation", False))


def _later(name: str, format_name: str, given: dict[str, Any]) -> dict[str, Any]:
    """How mashumaro's own methods of this kind make what replaces them."""
    given = {("default_dialect" if k == "dialect" else k): v for k, v in given.items()}
    later = {"first_method": name, "allow_postponed_evaluation": False}
    return {**later, "format_name": format_name, **given}


def _keep_type_testers() -> None:
    """Relies on `build_type_tester`, of which dbt asks for each answer to a query.

    It makes parsers of dates with all their words, which is slow, and then parses no text.
    """
    from dbt_common.clients import agate_helper

    if hasattr(agate_helper.build_type_tester, "kept"):
        return
    kept = lru_cache(maxsize=500)(agate_helper.build_type_tester)

    def build_type_tester(
        text_columns: Iterable[str], string_null_values: Iterable[str] | None = ("null", "")
    ) -> Any:
        nulls = string_null_values if string_null_values is None else tuple(string_null_values)
        return kept(tuple(sorted(text_columns)), nulls)

    build_type_tester.kept = kept  # type: ignore[attr-defined]
    agate_helper.build_type_tester = build_type_tester


def _keep_templates() -> None:
    """Relies on the code of a template being that of its text and of the class of its environment.

    dbt gives each of its environments the same filters and extensions.
    """
    from dbt_common.clients import jinja

    if hasattr(jinja.MacroFuzzEnvironment.compile, "kept"):
        return
    jinjas_own = jinja.MacroFuzzEnvironment.compile
    kept: dict[tuple[str, str], CodeType] = {}

    def compile_once(environment: Any, source: Any, *names: Any, **options: Any) -> Any:
        # To debug macros dbt writes the code of each into a file of its own.
        if names or options or not isinstance(source, str) or jinja.MACRO_DEBUGGING:
            return jinjas_own(environment, source, *names, **options)
        key = (type(environment).__name__, source)
        if key not in kept:
            kept[key] = jinjas_own(environment, source)
        return kept[key]

    compile_once.kept, compile_once.jinjas_own = kept, jinjas_own  # type: ignore[attr-defined]
    jinja.MacroFuzzEnvironment.compile = compile_once


def _keep_schemas() -> None:
    """Relies on the schema of a class being that of its code: dbt checks settings with it."""
    from dbt_common.dataclass_schema import dbtClassMixin

    dbts_own = vars(dbtClassMixin)["json_schema"].__func__
    if hasattr(dbts_own, "kept"):
        return
    kept: dict[str, Any] = {}

    def json_schema(cls: Any) -> Any:
        name = f"{cls.__module__}.{cls.__qualname__}"
        if name not in kept:
            kept[name] = dbts_own(cls)
        return kept[name]

    json_schema.kept, json_schema.dbts_own = kept, dbts_own  # type: ignore[attr-defined]
    dbtClassMixin.json_schema = classmethod(json_schema)


def made() -> tuple[dict[tuple[str, str], CodeType], dict[str, Any]]:
    """The templates and schemas of this process, after `speed_up`; a later one may add them."""
    from dbt_common.clients.jinja import MacroFuzzEnvironment
    from dbt_common.dataclass_schema import dbtClassMixin

    templates: Any = MacroFuzzEnvironment.compile
    return templates.kept, vars(dbtClassMixin)["json_schema"].__func__.kept


def _write_events() -> None:
    """Relies on the fields of an event, and on dbt's own list of the secrets of an invocation.

    dbt writes an event by way of a dictionary and a date as text, and looks for secrets in all
    variables of the environment, for each line of its log.
    """
    from dbt.events import logging
    from dbt_common.context import try_get_invocation_context
    from dbt_common.events import base_types, event_manager
    from dbt_common.exceptions import env_secrets, scrub_secrets

    dbts_own = event_manager.msg_from_base_event
    if hasattr(dbts_own, "dbts_own"):
        return

    def message_of(event: Any, level: Any = None) -> Any:
        message = getattr(event.PROTO_TYPES_MODULE, f"{type(event).__name__}Msg")()
        info = message.info
        info.level = (level or event.level_tag()).value
        info.msg = event.message()
        info.invocation_id = base_types.get_invocation_id()
        info.extra.update(base_types.get_global_metadata_vars())
        info.ts.GetCurrentTime()
        info.pid = base_types.get_pid()
        info.thread = base_types.get_thread_name()
        info.code = event.code()
        info.name = type(event).__name__
        message.data.CopyFrom(event.pb_msg)
        return message

    def without_secrets(text: str) -> Any:
        # Where dbt hears of a failed node its thread has no context. An error there would hang.
        context = try_get_invocation_context()
        return scrub_secrets(text, context.env_secrets if context else env_secrets())

    message_of.dbts_own = dbts_own  # type: ignore[attr-defined]
    event_manager.msg_from_base_event = message_of
    logging.env_scrubber = without_secrets


def _copy_macros() -> None:
    """Relies on the words of a node being those of its context, and all macros over them.

    dbt looks for each of a thousand macros in five places, for each node and most of its queries;
    from 1.12 on it finds only those that are called.
    """
    from dbt.context.configured import ConfiguredContext
    from dbt.context.macros import MacroNamespace
    from dbt.context.manifest import ManifestContext

    is_slow = hasattr(MacroNamespace, "_search_order")
    if not is_slow or hasattr(ManifestContext.to_dict, "dbts_own"):
        return
    dbts_own = ManifestContext.to_dict

    def to_dict(context: Any) -> Any:
        if type(context.namespace) is not MacroNamespace:
            return dbts_own(context)
        words = ConfiguredContext.to_dict(context)
        words.update(found_macros(context.namespace))
        return words

    to_dict.dbts_own = dbts_own  # type: ignore[attr-defined]
    ManifestContext.to_dict = to_dict


def found_macros(namespace: Any) -> dict[str, Any]:
    """What dbt finds by each name of a namespace."""
    found: dict[str, Any] = {}
    for place in reversed(list(namespace._search_order())):
        found.update(place)
    return found


def _keep_columns() -> None:
    """Relies on all statements going through `add_query`, and each node having its own thread.

    A snapshot asks ten times for the columns of three tables, each time with all macros around it.
    """
    from dbt.adapters.sql import SQLAdapter
    from dbt.adapters.sql.connections import SQLConnectionManager

    if hasattr(SQLAdapter.get_columns_in_relation, "dbts_own"):
        return
    dbts_own, add_query = SQLAdapter.get_columns_in_relation, SQLConnectionManager.add_query
    known = local()

    def get_columns_in_relation(adapter: Any, relation: Any) -> Any:
        columns = vars(known).setdefault("columns", {})
        place = adapter.type(), str(relation)
        if place not in columns:
            columns[place] = dbts_own(adapter, relation)
        return list(columns[place])

    def add_query_and_forget(connections: Any, sql: str, *more: Any, **named: Any) -> Any:
        if not leaves_columns(sql):
            vars(known).clear()
        return add_query(connections, sql, *more, **named)

    get_columns_in_relation.dbts_own = dbts_own  # type: ignore[attr-defined]
    SQLAdapter.get_columns_in_relation = get_columns_in_relation
    SQLConnectionManager.add_query = add_query_and_forget


def leaves_columns(sql: str) -> bool:
    """Whether all tables surely have the same columns after a text of SQL."""
    return bool(_LEAVES_COLUMNS.match(sql)) and ";" not in sql.strip().rstrip(";")
