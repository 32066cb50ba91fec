"""What dbt makes once, instead of for each query and node, is what it would make."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from threading import Thread
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from dbt import compilation
from dbt.adapters.events import adapter_types_pb2
from dbt.adapters.events.types import SQLQuery
from dbt.context.macros import MacroNamespace
from dbt.contracts.graph.nodes import InjectedCTE
from dbt.contracts.project import Project
from dbt.events import logging
from dbt_common.behavior_flags import Behavior, BehaviorFlagRendered
from dbt_common.clients import agate_helper, system
from dbt_common.clients.jinja import MacroFuzzEnvironment, get_environment
from dbt_common.context import set_invocation_context
from dbt_common.dataclass_schema import dbtClassMixin
from dbt_common.events import base_types, event_manager
from dbt_common.events.base_types import EventLevel
from google.protobuf.json_format import ParseError  # type: ignore[import-untyped]

from pipeline.dbt_runner import speed_up
from pipeline.dbt_runner.speed.adapters import asked_once, columns_forgotten
from pipeline.dbt_runner.speed.imports import CODES
from pipeline.dbt_runner.speed.patch import SKIPPED, patch
from pipeline.dbt_runner.speed.project import SCHEMAS, TEMPLATES
from pipeline.dbt_runner.speed.shared_columns import leaves_columns

ROWS = [{"code": "007", "price": Decimal("1.50"), "none": None, "note": "null"}]
COLUMNS = ("code", "price", "none", "note")

speed_up()  # before the next classes have methods


@dataclass
class Part(dbtClassMixin):  # type: ignore[misc]
    at: datetime
    none: str | None = None


@dataclass
class Whole(dbtClassMixin):  # type: ignore[misc]
    parts: list[Part] = field(default_factory=list)
    other: dict[str, int] = field(default_factory=dict)


@dataclass
class More(Whole):
    more: bool = True


def test_these_versions_have_all_names() -> None:
    speed_up(in_duckdb=True)
    assert not SKIPPED


def test_what_another_version_lacks_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(original: Any) -> Any:
        raise AssertionError(original)

    def with_a_name_that_is_gone(_: Any) -> Any:
        return MacroNamespace._name_of_another_version

    given = MacroNamespace.__iter__
    patch("dbt.module_of_another_version", "name", never)
    patch("dbt.context.macros", "MacroNamespace.name_of_another_version", never)
    patch("dbt.context.macros", "Gone.name", never)
    patch("dbt.context.macros", "MacroNamespace.__iter__", with_a_name_that_is_gone)
    assert MacroNamespace.__iter__ is given
    gone = [name for name in SKIPPED if name.startswith(("dbt.module", "dbt.context.macros"))]
    assert len(gone) == 4
    for name in gone:
        del SKIPPED[name]


def test_a_method_is_replaced_once_as_what_it_was() -> None:
    class Owner:
        @classmethod
        def of_class(cls) -> str:
            return cls.__name__

        @staticmethod
        def of_none() -> str:
            return "none"

    class Heir(Owner):
        pass

    def twice(original: Any) -> Any:
        return lambda *given: original(*given) * 2

    module = ModuleType("made_here")
    module.Owner, module.Heir = Owner, Heir  # type: ignore[attr-defined]
    sys.modules["made_here"] = module
    try:
        for _ in range(2):
            patch("made_here", "Owner.of_class", twice)
            patch("made_here", "Heir.of_none", twice)
    finally:
        del sys.modules["made_here"]
    assert (Heir.of_class(), Owner.of_class()) == ("HeirHeir", "OwnerOwner")
    assert (Heir.of_none(), Owner.of_none()) == ("nonenone", "none")


def test_the_methods_of_a_dataclass_are_compiled_once() -> None:
    speed_up()
    made = [
        make_dataclass("Made", [("a", int), ("b", list[int], field(default_factory=list))])
        for _ in range(2)
    ]
    left, right = (kind(1) for kind in made)
    left.b.append(2)
    assert (repr(left), repr(right)) == ("Made(a=1, b=[2])", "Made(a=1, b=[])")
    assert left != right and made[0](1) == made[0](1)
    left, right = (vars(kind)["__init__"].__code__ for kind in made)
    assert left is right
    assert any("__init__" in text for text in CODES)


def test_an_answer_has_the_same_types() -> None:
    speed_up()
    build = agate_helper.build_type_tester
    tables = []
    for way in (build.original, build):
        agate_helper.build_type_tester = way
        tables.append(agate_helper.table_from_data_flat(ROWS, COLUMNS))
    left, right = tables
    assert [tuple(row) for row in left.rows] == [tuple(row) for row in right.rows]
    assert [type(kind) for kind in left.column_types] == [type(kind) for kind in right.column_types]
    assert tuple(right.rows[0]) == ("007", Decimal("1.50"), None, "null")


def test_an_empty_table_is_the_same() -> None:
    speed_up()
    ours, dbts = agate_helper.empty_table(), agate_helper.empty_table.original()
    assert [len(table.rows) + len(table.columns) for table in (ours, dbts)] == [0, 0]
    assert ours.column_names == dbts.column_names and ours.column_types == dbts.column_types
    assert agate_helper.as_matrix(ours) == agate_helper.as_matrix(dbts)


def test_a_tester_of_types_is_made_once() -> None:
    speed_up()
    build = agate_helper.build_type_tester
    assert build({"b", "a"}, ()) is build(["a", "b"], ())
    assert build(["a"], ()) is not build(["b"], ())
    assert build(["a"], ()) is not build(["a"])


@pytest.mark.parametrize(
    "sql",
    [
        "with a as (select 1) select * from a",
        "\n-- with b\n/* a with */ WITH\na as (select 1)\nselect * from a\n",
        "with recursive a as (select 1) select * from a",
        "select * from (with a as (select 1) select * from a) as b",
        "without as (select 1)",
        "with a as (select ';') select * from a",
        "with a as (select 1) select 1; with b as (select 1) select 2",
        "/* a /* b */ with */ with a as (select 1) select * from a",
        "-- with",
        "-- one; two\nwith a as (select 1) select * from a",
        "with a as (select 1)\n    -- a; b\nselect * from a",
        "with a as (select 1) -- a; b\nselect * from a",
        "with a as (select '\n-- a; b\n-- '; with b as (select 1) select 2",
        "with a as (select 1) /*\n-- a */; with b as (select 1) select 2",
    ],
)
def test_the_rows_of_a_unit_test_are_put_in_the_same_place(sql: str) -> None:
    speed_up()
    given = [InjectedCTE("1", " x as (\nselect 1\n)"), InjectedCTE("2", " y as (select 2)")]
    inject = compilation.inject_ctes_into_sql
    for ctes in (given, given[:1], []):
        assert inject(sql, ctes) == inject.original(sql, ctes)


def test_a_template_is_compiled_once_for_each_kind_of_environment() -> None:
    speed_up()
    source = "{{ '7' | as_number }}{% macro m(a) %}{{ a }}{% endmacro %}"
    for native in (False, True):
        compiled = get_environment(native=native).compile(source)
        own = MacroFuzzEnvironment.compile.original(get_environment(native=native), source)
        assert compiled == own
        assert get_environment(native=native).compile(source) is compiled
        assert get_environment(native=native).from_string(source).render({}) == (
            7 if native else "7"
        )
    assert ("MacroFuzzEnvironment", source) in TEMPLATES


def test_methods_that_are_made_when_called_are_the_same() -> None:
    speed_up()

    for kind in (Whole, More):
        whole = kind([Part(datetime(2026, 11, 20, tzinfo=UTC))], {"a": 1})
        told = whole.to_dict(omit_none=True)
        assert told["parts"] == [{"at": "2026-11-20T00:00:00+00:00"}]
        assert whole.to_dict()["parts"][0]["none"] is None
        assert kind.from_dict(told) == whole
        assert kind.from_msgpack(whole.to_msgpack()) == whole
    assert More.from_dict({"more": False}).more is False


def test_a_schema_is_the_same() -> None:
    speed_up()
    own = vars(dbtClassMixin)["json_schema"].__func__.original
    assert Project.json_schema() == own(Project)
    assert Project.json_schema() in SCHEMAS.values()


def test_an_event_is_the_same() -> None:
    speed_up()
    set_invocation_context(dict(os.environ))
    event = SQLQuery(conn_name="c", sql="select 1", node_info={"node_name": "n", "meta": {"a": 1}})
    for level in (None, EventLevel.WARN):
        message = event_manager.msg_from_base_event(event, level)
        own = event_manager.msg_from_base_event.original(event, level)
        assert abs(message.info.ts.ToDatetime() - own.info.ts.ToDatetime()).total_seconds() < 5
        own.info.ts.CopyFrom(message.info.ts)
        assert message == own


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        ("SQLQuery", {"conn_name": "c", "sql": "select 1", "node_info": None}),
        ("SQLQuery", {"node_info": {"node_name": "ñ", "meta": {"a": [1, None, {"b": 1.5}]}}}),
        ("SQLQueryStatus", {"status": "SELECT 1", "elapsed": 0.25, "query_id": ""}),
        ("SQLQueryStatus", {"elapsed": 1}),
        ("SQLQueryStatus", {"elapsed": "0.5"}),
        ("CacheAction", {"action": "a", "ref_list": [{"schema": "s"}], "ref_map": {"x": "y"}}),
        ("CacheAction", {"ref_key": {"database": None, "schema": "s", "identifier": "i"}}),
        ("ConstraintNotSupported", {"constraint": "c", "no_such_field": 1}),
        ("ConstraintNotSupported", {"constraint": 7}),
    ],
)
def test_an_event_has_the_same_fields(event: str, fields: dict[str, Any]) -> None:
    speed_up()
    kind = getattr(adapter_types_pb2, event)
    parse = base_types.ParseDict
    found: list[Any] = []
    for way in (parse, parse.original):
        try:
            found.append(way(fields, kind()))
        except ParseError as error:
            found.append(str(error))
    assert found[0] == found[1]


def test_the_caller_of_a_setting_is_the_same() -> None:
    speed_up()
    ours = BehaviorFlagRendered._default_source
    found: list[str] = []

    def ask() -> None:
        flags = [{"name": "f", "default": False, "docs_url": "d"}]
        found.append(Behavior(flags, {}).f._behavior_change_event.flag_source)

    for way in (ours, ours.original):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(BehaviorFlagRendered, "_default_source", staticmethod(way))
            thread = Thread(target=ask)  # few functions are running in it: dbt reads all of them
            thread.start()
            thread.join()
    assert found == [__name__, __name__]


def test_an_artifact_is_the_same(tmp_path: Path) -> None:
    speed_up()
    content = {"ñ": [1.5, None, Decimal("7.10"), datetime(2026, 11, 20, tzinfo=UTC)], "b": {"": 1}}
    texts = []
    for way in (system.json, system.json.original):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(system, "json", way)
            system.write_json(str(tmp_path / "artifact.json"), content)
        texts.append((tmp_path / "artifact.json").read_bytes())
    assert texts[0] == texts[1] != b""
    assert system.read_json(str(tmp_path / "artifact.json"))["b"] == {"": 1}


def test_columns_are_asked_for_again_once_they_may_differ() -> None:
    speed_up()
    asked: list[str] = []

    def get_columns(_: Any, of: str) -> list[str]:
        asked.append(of)
        return [f"{of}.a"]

    def get_schema(_: Any, of: str) -> list[str]:
        asked.append(f"schema of {of}")
        return [f"{of}.b"]

    columns, schema = asked_once(get_columns), asked_once(get_schema)
    run = columns_forgotten(lambda _, sql: sql)
    duckdb = SimpleNamespace(type=lambda: "duckdb")
    for _ in range(2):
        assert columns(duckdb, "t") == ["t.a"]
        assert schema(duckdb, "t") == ["t.b"]
        columns(duckdb, "t").clear()  # a list of the caller's own
        run(None, "select 1")
    assert asked == ["t", "schema of t"]
    thread = Thread(target=lambda: columns(duckdb, "t"))
    thread.start()
    thread.join()
    run(None, "alter table t add column c int")
    columns(duckdb, "t")
    assert asked == ["t", "schema of t", "t", "t"]


def test_the_log_has_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    speed_up()
    monkeypatch.setenv("DBT_ENV_SECRET_TOKEN", "hush")
    set_invocation_context(dict(os.environ))
    assert logging.env_scrubber("with hush in it") == "with ***** in it"
    # dbt has threads without its context.
    found: list[str] = []
    thread = Thread(target=lambda: found.append(logging.env_scrubber("hush")))
    thread.start()
    thread.join()
    assert found == ["*****"]


@pytest.mark.parametrize(
    ("sql", "leaves"),
    [
        ("select 1", True),
        ("/* {app: dbt} */\n  Select 1;", True),
        ("describe (select 1)", True),
        ("delete from a", True),
        ("create table a as select 1", False),
        ("/* select */ alter table a drop column b", False),
        ("select 1; alter table a drop column b", False),
        ("with a as (select 1) select 1", False),
        ("selected", False),
        ("commit", False),
        ("", False),
    ],
)
def test_what_leaves_the_columns_of_tables(sql: str, leaves: bool) -> None:
    assert leaves_columns(sql) is leaves
