"""Tests that dbt runs faster have the outcome and the messages that they have without it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import pytest
from dbt.events import core_types_pb2
from dbt.task import test as dbt_test
from dbt_common.clients import jinja
from dbt_common.clients.agate_helper import table_from_rows
from dbt_common.events import base_types
from google.protobuf.json_format import ParseError  # type: ignore[import-untyped]
from jinja2.environment import Template

from pipeline.dbt_runner import speed_up
from pipeline.dbt_runner.speed.shared_columns import (
    shared_by_unit_tests,
    unit_test_that_shares,
    unshared_after_changes,
)

ORDERS = SimpleNamespace(schema="marts", identifier="Fact_Orders", name="marts.fact_orders")
PAYMENTS = SimpleNamespace(schema="marts", identifier="fact_payments", name="marts.fact_payments")
TEMPORARY = SimpleNamespace(schema=None, identifier="orders__dbt_tmp", name="orders__dbt_tmp")


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ([(1, "a")], [(1, "a")]),
        ([(1, "a"), (2, None)], [(2, None), (1, "a")]),
        ([(1, "a"), (1, "a")], [(1, "a"), (1, "a")]),
        ([(1, "a"), (1, "a")], [(1, "a")]),
        ([(1, "a")], [(1, "b")]),
        ([(None, "a")], [(1, "a")]),
        ([(None, None)], [(None, None)]),
        ([(Decimal("1.0"), "a")], [(Decimal("1.00"), "a")]),
        ([], []),
        ([], [(1, "a")]),
        ([(True, "a")], [(1, "a")]),
    ],
)
def test_the_same_rows_of_a_unit_test_differ(
    expected: list[tuple[Any, ...]], actual: list[tuple[Any, ...]]
) -> None:
    speed_up()
    tables = [table_from_rows(rows, ["number", "text"]) for rows in (expected, actual)]
    found = []
    ours = dbt_test.TestRunner._get_daff_diff
    for way in (ours, ours.original):
        found.append(way(None, *tables).hasDifference())
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "result",
    [
        {"timing_info": [{"name": "compile", "started_at": "2026-11-20T10:00:00.123456Z"}]},
        {"timing_info": [{"name": "execute", "completed_at": "2026-11-20T10:00:00Z"}]},
        {"timing_info": [{"started_at": "2026-11-20T10:00:00+02:00"}, {}], "num_failures": 1},
        {"timing_info": [{"started_at": "2026-11-20T10:00:00"}]},
        {"timing_info": [{"started_at": "yesterday"}]},
        {"timing_info": [{"no_such_at": "2026-11-20T10:00:00Z"}]},
        {"timing_info": [], "status": "pass", "adapter_response": {"_message": "OK"}},
        {"status": "pass"},
        {},
    ],
)
def test_the_end_of_a_node_has_the_same_fields(result: dict[str, Any]) -> None:
    speed_up()
    found: list[Any] = []
    for way in (base_types.ParseDict, base_types.ParseDict.original):
        fields = {"node_info": {"node_name": "n"}, "run_result": result}
        try:
            found.append(way(fields, core_types_pb2.NodeFinished()))
        except ParseError as error:
            found.append(str(error))
        assert fields["run_result"] == result
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "text",
    ["{{ a }}", "{{ f(a) }}", "{{ [a, none] }}", "{{ a }}{{ b }}", "{{ dict(x=a) }}", "7", "'7'"],
)
def test_a_value_is_rendered_from_the_same_words(text: str) -> None:
    speed_up()
    new_context = jinja.NativeSandboxTemplate.new_context
    assert new_context.original is Template.new_context
    words = {"a": 1, "b": "x", "f": lambda value: value + 1}
    found = []
    for way in (new_context, new_context.original):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(jinja.NativeSandboxTemplate, "new_context", way)
            template = jinja.get_template(text, {"a": 0, "b": "global"}, native=True)
            found.append(template.render(words))
            found.append(template.render({"f": str}))
    assert found[:2] == found[2:]


class Warehouse:
    """Answers with its columns of now, and remembers what it was asked."""

    def __init__(self) -> None:
        self.connections = SimpleNamespace()
        self.asked: list[str] = []
        self.meanwhile: Callable[[], None] = lambda: None
        self._columns = shared_by_unit_tests(self._answer)
        self._run = unshared_after_changes(lambda *_: None)

    def _answer(self, _: Any, of: Any) -> list[str]:
        self.asked.append(of.name)
        self.meanwhile()
        return [f"{of.name}.{len(self.asked)}"]

    def columns(self, of: Any) -> list[str]:
        found: list[str] = self._columns(self, of)
        return found

    def unit_test(self, of: Any = ORDERS) -> list[str]:
        found: list[str] = unit_test_that_shares(self.columns)(of)
        return found

    def run(self, *statements: str) -> None:
        """Run statements as another node does, in a thread of its own."""
        thread = Thread(target=lambda: [self._run(self.connections, sql) for sql in statements])
        thread.start()
        thread.join()

    def run_in_unit_test(self, sql: str) -> None:
        unit_test_that_shares(self._run)(self.connections, sql)


@pytest.fixture(autouse=True)
def _places(monkeypatch: pytest.MonkeyPatch) -> None:
    for relation in (ORDERS, PAYMENTS, TEMPORARY):
        monkeypatch.setattr(relation, "render", lambda: None, raising=False)


def test_unit_tests_of_a_run_share_columns() -> None:
    warehouse = Warehouse()
    assert warehouse.unit_test() == warehouse.unit_test() == ["marts.fact_orders.1"]
    assert warehouse.unit_test(PAYMENTS) == ["marts.fact_payments.2"]
    assert Warehouse().unit_test(PAYMENTS) == ["marts.fact_payments.1"]  # another run


def test_other_nodes_ask_for_themselves() -> None:
    warehouse = Warehouse()
    warehouse.unit_test()
    assert warehouse.columns(ORDERS) != warehouse.columns(ORDERS)


def test_a_temporary_table_is_not_shared() -> None:
    warehouse = Warehouse()
    assert warehouse.unit_test(TEMPORARY) != warehouse.unit_test(TEMPORARY)


def test_a_missing_table_is_asked_for_again() -> None:
    warehouse = Warehouse()
    answers = [["a"], []]
    ask = unit_test_that_shares(shared_by_unit_tests(lambda *_: answers.pop()))
    assert ask(warehouse, ORDERS) == []
    assert ask(warehouse, ORDERS) == ask(warehouse, ORDERS) == ["a"]


@pytest.mark.parametrize(
    ("statements", "is_forgotten"),
    [
        (["select * from fact_orders"], False),
        (["insert into marts.fact_orders select 1"], False),
        (["create table marts.fact_payments as select 1"], False),
        (["/* {} */ create table marts.FACT_ORDERS as select 1"], True),
        (['alter table "marts"."fact_orders__dbt_tmp" rename to "fact_orders"'], True),
        (["drop table if exists marts.other cascade"], True),
        (["drop schema marts"], True),
        (["BEGIN", "create table marts.other as select 1", "COMMIT"], False),
    ],
)
def test_a_change_of_a_table_is_seen(statements: list[str], is_forgotten: bool) -> None:
    warehouse = Warehouse()
    before = warehouse.unit_test()
    warehouse.run(*statements)
    assert (warehouse.unit_test() != before) is is_forgotten
    warehouse.run_in_unit_test("create temporary table fact_orders__dbt_tmp as select 1")
    warehouse.unit_test()
    assert len(warehouse.asked) == 1 + is_forgotten


def test_a_change_is_seen_once_it_is_committed() -> None:
    warehouse = Warehouse()
    before: list[list[str]] = []

    def ask_before_the_commit(_: Any, sql: str) -> None:
        if sql == "COMMIT":
            before.append(warehouse.unit_test())

    run = unshared_after_changes(ask_before_the_commit)
    for sql in ("BEGIN", "alter table marts.fact_orders add column c int", "COMMIT"):
        run(warehouse.connections, sql)
    assert before and warehouse.unit_test() not in before


def test_an_answer_from_before_a_change_is_not_shared() -> None:
    warehouse = Warehouse()
    changed = Event()

    def change() -> None:
        if not changed.is_set():
            changed.set()
            warehouse.run("alter table marts.fact_orders add column c int")

    warehouse.meanwhile = change
    assert warehouse.unit_test() != warehouse.unit_test()
    assert warehouse.unit_test() == warehouse.unit_test()
