"""What a team expects of raw tables: the rules, on a warehouse with weeks of loads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from loader.errors import UsageError
from pipeline.expectations import ODD, STALE, Expectations, Finding, unmet
from pipeline.warehouse import DuckDB

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)  # a Friday


class Loads:
    """A warehouse whose audit says what a test wants."""

    def __init__(self, path: Path) -> None:
        self.warehouse = DuckDB("duckdb", "main", {"path": str(path)})
        self._number = 0
        self.run(
            "create schema raw_classicmodels",
            "create table raw_classicmodels._load_runs"
            " (batch_id varchar, started_at timestamp, finished_at timestamp, status varchar)",
            "create table raw_classicmodels._load_tables"
            " (batch_id varchar, table_name varchar, status varchar, rows_inserted bigint)",
            "create table raw_classicmodels.orders"
            " (orderdate date, changed timestamp, note varchar, _deleted_at timestamp)",
        )

    def run(self, *statements: str) -> None:
        with duckdb.connect(str(self.warehouse.place)) as connection:
            for statement in statements:
                connection.execute(statement)

    def load(self, at: datetime, rows: int | None, status: str = "succeeded") -> None:
        self._number += 1
        batch, when = f"{at:%Y%m%dT%H%M}_{self._number}", at.replace(tzinfo=None)
        run_status = "failed" if status == "failed" else "succeeded"
        self.run(
            "insert into raw_classicmodels._load_runs"
            f" values ('{batch}', '{when}', '{when}', '{run_status}')"
        )
        if rows is not None:
            self.run(
                "insert into raw_classicmodels._load_tables"
                f" values ('{batch}', 'orders', '{status}', {rows})"
            )

    def nightly(self, *rows: int, days_ago: int = 7) -> None:
        """One load a week, the newest first."""
        for week, number in enumerate(rows):
            self.load(NOW - timedelta(days=7 * week + days_ago, hours=10), number)

    def order(self, **values: str) -> None:
        listed = ", ".join(f"'{value}'" for value in values.values())
        self.run(f"insert into raw_classicmodels.orders ({', '.join(values)}) values ({listed})")

    def found(self, day: str = "", **orders: Any) -> list[Finding]:
        return unmet(self.warehouse, Expectations({"orders": orders}), NOW, day)

    def kinds(self, day: str = "", **orders: Any) -> list[str]:
        return [finding.kind for finding in self.found(day, **orders)]


@pytest.fixture
def loads(tmp_path: Path) -> Loads:
    return Loads(tmp_path / "w.duckdb")


def test_a_load_that_is_too_old(loads: Loads) -> None:
    loads.load(NOW - timedelta(hours=27), 5)
    loads.load(NOW - timedelta(hours=1), 5, "failed")
    assert loads.kinds(loaded_within="26 hours") == [STALE]
    assert loads.kinds(loaded_within="28 hours") == []
    (finding,) = loads.found(loaded_within="26 hours")
    assert "2026-11-26 09:00 UTC" in finding.message and "26 hours" in finding.message


def test_a_table_that_the_shop_no_longer_has_is_expected(loads: Loads) -> None:
    loads.load(NOW - timedelta(hours=2), 5)
    loads.load(NOW - timedelta(hours=1), 0, "gone")
    (finding,) = loads.found(loaded_within="26 hours")
    assert "no such table" in finding.message


@pytest.mark.parametrize(
    ("day", "within", "kinds"),
    [
        ("2026-11-24", "3 days", []),  # until the end of the 24th: 2.5 days
        ("2026-11-23", "3 days", [STALE]),
        ("2026-11-23", "4 days", []),
    ],
)
def test_business_time(loads: Loads, day: str, within: str, kinds: list[str]) -> None:
    loads.load(NOW, 5)
    loads.order(orderdate=day)
    loads.order(orderdate="2099-01-01")  # a slip of the pen hides nothing
    loads.run(
        "insert into raw_classicmodels.orders (orderdate, _deleted_at)"
        " values ('2026-11-27', '2026-11-27')"
    )
    assert loads.kinds(newest="orderDate", newest_within=within) == kinds


def test_business_time_of_a_time_and_of_another_day(loads: Loads) -> None:
    loads.load(NOW, 5)
    loads.order(orderdate="2005-05-31", changed="2026-11-27 10:59:00")
    assert loads.kinds(newest="changed", newest_within="90 minutes") == []
    assert loads.kinds(newest="changed", newest_within="1 hour") == [STALE]
    assert loads.kinds("2005-05-31", newest="orderDate", newest_within="1 day") == []
    assert loads.kinds("2005-06-03", newest="orderDate", newest_within="1 day") == [STALE]


def test_what_cannot_be_checked_is_said(loads: Loads) -> None:
    loads.load(NOW, 5)
    assert loads.kinds(newest="orderDate", newest_within="1 day") == [STALE]  # no row at all
    loads.order(orderdate="2026-11-27", note="x")
    assert loads.kinds(newest="no_such", newest_within="1 day") == [STALE]
    assert loads.kinds(newest="note", newest_within="1 day") == [STALE]
    found = unmet(loads.warehouse, Expectations({"ordres": {"usual_share": 0.5}}), NOW)
    assert [finding.subject for finding in found] == ["ordres"]


def test_a_green_and_empty_load_is_odd(loads: Loads) -> None:
    loads.nightly(100, 90, 110, 100, 5000)
    loads.load(NOW - timedelta(hours=10), 0)
    (finding,) = loads.found()
    assert finding.kind == ODD
    assert "0 new rows on Friday, 2026-11-27" in finding.message and "100" in finding.message


def test_a_share_of_what_is_usual(loads: Loads) -> None:
    loads.nightly(100, 90, 110, 100)
    loads.load(NOW - timedelta(hours=10), 30)
    assert loads.kinds() == []
    assert loads.kinds(usual_share=0.3) == []
    assert loads.kinds(usual_share=0.31) == [ODD]
    assert loads.kinds(usual_share=0) == []


def test_too_little_past_says_nothing(loads: Loads) -> None:
    loads.nightly(100, 90, 110)
    loads.load(NOW - timedelta(hours=10), 0)
    assert loads.kinds() == []


def test_few_rows_are_not_usual(loads: Loads) -> None:
    loads.nightly(9, 9, 9, 9, 9)
    loads.load(NOW - timedelta(hours=10), 0)
    assert loads.kinds() == []


def test_another_weekday_is_not_compared(loads: Loads) -> None:
    for weekday in range(1, 7):
        loads.nightly(100, 100, 100, 100, 100, days_ago=7 + weekday)
    loads.load(NOW - timedelta(hours=10), 0)
    assert loads.kinds() == []


def test_a_day_that_goes_on_is_judged_when_it_has_had_its_loads(loads: Loads) -> None:
    for hours in (11, 10):  # two loads each Friday
        for week in range(1, 6):
            loads.load(NOW - timedelta(days=7 * week, hours=hours), 50)
    loads.load(NOW - timedelta(hours=11), 0)
    assert loads.kinds() == []
    loads.load(NOW - timedelta(hours=10), 0)
    assert loads.kinds() == [ODD]


def test_yesterday_is_judged_when_it_is_over(loads: Loads) -> None:
    for week in range(1, 6):
        for hours in (30, 29, 28):
            loads.load(NOW - timedelta(days=7 * week, hours=hours), 50)
    loads.load(NOW - timedelta(hours=30), None)  # a batch of a watch in which nothing had changed
    loads.load(NOW, 1)
    (finding,) = loads.found()
    assert "Thursday, 2026-11-26" in finding.message


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"loaded_in": "1 day"}, "loaded_in"),
        ({"loaded_within": "soon"}, "26 hours"),
        ({"loaded_within": 26}, "26 hours"),
        ({"loaded_within": "0 days"}, "26 hours"),
        ({"newest": "orderDate"}, "go together"),
        ({"newest_within": "1 day"}, "go together"),
        ({"usual_share": 2}, "usual_share"),
        ({"usual_share": True}, "usual_share"),
        ("3 days", "keys and values"),
    ],
)
def test_a_mistake_is_named(given: Any, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        Expectations({"orders": given})


def test_what_is_written_later_wins() -> None:
    expectations = Expectations(
        {"*": {"loaded_within": "1 day", "usual_share": 0.1}, "Order*": {"usual_share": 0.5}}
    )
    assert expectations.of("orders").usual_share == 0.5
    assert expectations.of("orders").loaded_within == timedelta(days=1)
    assert expectations.of("payments").usual_share == 0.1
    assert str(expectations.of("orders")) == "a load within 1 day; 50% of the usual rows"
