"""What dbt makes once, instead of for each query and node, is what it would make."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from threading import Thread

import pytest
from dbt.adapters.events.types import SQLQuery
from dbt.context.macros import MacroNamespace
from dbt.context.manifest import ManifestContext
from dbt.contracts.project import Project
from dbt.events import logging
from dbt_common.clients import agate_helper
from dbt_common.clients.jinja import MacroFuzzEnvironment, get_environment
from dbt_common.context import set_invocation_context
from dbt_common.dataclass_schema import dbtClassMixin
from dbt_common.events import event_manager
from dbt_common.events.base_types import EventLevel

from pipeline.dbt_runner import speed_up
from pipeline.dbt_runner.speed import found_macros, leaves_columns, made

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


def test_an_answer_has_the_same_types() -> None:
    speed_up()
    build = agate_helper.build_type_tester
    tables = []
    for way in (build.kept.__wrapped__, build):
        agate_helper.build_type_tester = way
        tables.append(agate_helper.table_from_data_flat(ROWS, COLUMNS))
    left, right = tables
    assert [tuple(row) for row in left.rows] == [tuple(row) for row in right.rows]
    assert [type(kind) for kind in left.column_types] == [type(kind) for kind in right.column_types]
    assert tuple(right.rows[0]) == ("007", Decimal("1.50"), None, "null")


def test_a_tester_of_types_is_made_once() -> None:
    speed_up()
    build = agate_helper.build_type_tester
    assert build({"b", "a"}, ()) is build(["a", "b"], ())
    assert build(["a"], ()) is not build(["b"], ())
    assert build(["a"], ()) is not build(["a"])


def test_the_same_macro_is_found() -> None:
    namespace = MacroNamespace(
        {"own": "root", "both": "root", "all": "root"},
        {"both": "local", "all": "local"},
        {"all": "dbt", "only": "dbt", "package": "dbt"},
        {"package": {"all": "package"}},
    )
    assert found_macros(namespace) == dict(namespace)
    speed_up()
    speed_up()
    assert not hasattr(ManifestContext.to_dict.dbts_own, "dbts_own")


def test_a_template_is_compiled_once_for_each_kind_of_environment() -> None:
    speed_up()
    source = "{{ '7' | as_number }}{% macro m(a) %}{{ a }}{% endmacro %}"
    for native in (False, True):
        compiled = get_environment(native=native).compile(source)
        own = MacroFuzzEnvironment.compile.jinjas_own(get_environment(native=native), source)
        assert compiled == own
        assert get_environment(native=native).compile(source) is compiled
        assert get_environment(native=native).from_string(source).render({}) == (
            7 if native else "7"
        )
    assert ("MacroFuzzEnvironment", source) in made()[0]


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
    own = vars(dbtClassMixin)["json_schema"].__func__.dbts_own
    assert Project.json_schema() == own(Project)
    assert Project.json_schema() in made()[1].values()


def test_an_event_is_the_same() -> None:
    speed_up()
    set_invocation_context(dict(os.environ))
    event = SQLQuery(conn_name="c", sql="select 1", node_info={"node_name": "n", "meta": {"a": 1}})
    for level in (None, EventLevel.WARN):
        message = event_manager.msg_from_base_event(event, level)
        own = event_manager.msg_from_base_event.dbts_own(event, level)
        assert abs(message.info.ts.ToDatetime() - own.info.ts.ToDatetime()).total_seconds() < 5
        own.info.ts.CopyFrom(message.info.ts)
        assert message == own


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
