"""The figures of the live page are what the marts say, exactly, from both warehouses.

What is expected is added up in Python, from single lines; the figures' SQL has no part in it.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest

from pages.live import LivePage
from pages.live.page import ABOUT
from pipeline.live_figures import NEWEST, live_figures
from pipeline.live_page import ShownMarts
from pipeline.warehouse import DuckDB, Postgres, WarehouseError
from support.built import DAY, BuiltWarehouses
from support.live_marts import commit_of, give_hours, write_sales_by_hour
from support.project import DuckDBWarehouse, Project, Warehouse
from tools.servers import HOST, PostgresServer

DAYS = [DAY - timedelta(29 - n) for n in range(30)]
COMPARED = {"today": DAY, "yesterday": DAY - timedelta(1), "week_before": DAY - timedelta(7)}


@pytest.fixture(scope="module")
def warehouses(
    tmp_path_factory: pytest.TempPathFactory, built: BuiltWarehouses, postgres: PostgresServer
) -> dict[str, Warehouse]:
    """The sample shop after its second load, with orders on each compared day."""
    found: dict[str, Warehouse] = {}
    for target in ("duckdb", "postgres"):
        folder = tmp_path_factory.mktemp(target)
        warehouse = built.copy(target, "changed", "live", folder).warehouse
        prepare(warehouse)
        found[target] = warehouse
    return found


def prepare(warehouse: Warehouse) -> None:
    """Move orders to the compared days, cancel one, delete one, and leave one without lines."""
    numbers = [
        number
        for (number,) in warehouse.query(
            "select order_number from marts.fact_order_life where not is_cancelled"
            " and not is_deleted and order_date < cast('2026-10-01' as date)"
            " order by order_number desc limit 36"
        )
    ]
    days = [*COMPARED.values(), DAY - timedelta(29)]
    for place, number in enumerate(numbers):
        for table in ("fact_orders", "fact_order_life"):
            warehouse.query(
                f"update marts.{table} set order_date = cast('{days[place % 4]}' as date)"
                f" where order_number = {number}"
            )
    cancelled, deleted, without_lines = numbers[0], numbers[4], numbers[8]
    warehouse.query(
        "update marts.fact_orders set is_revenue = false, revenue_amount = 0"
        f" where order_number = {cancelled}"
    )
    warehouse.query(
        "update marts.fact_order_life set is_cancelled = true, order_status = 'Cancelled'"
        f" where order_number = {cancelled}"
    )
    warehouse.query(
        f"update marts.fact_order_life set is_deleted = true where order_number = {deleted}"
    )
    warehouse.query(
        f"update marts.fact_orders set order_date = null where order_number = {deleted}"
    )
    warehouse.query(f"delete from marts.fact_orders where order_number = {without_lines}")
    # More than a float can hold to the cent.
    warehouse.query(
        "update marts.fact_orders set revenue_amount = 9999999999.99 where order_number in"
        f" ({numbers[12]}, {numbers[13]}, {numbers[16]})"
    )
    give_hours(warehouse, DAY)


@pytest.fixture(params=["duckdb", "postgres"])
def warehouse(request: pytest.FixtureRequest, warehouses: dict[str, Warehouse]) -> Warehouse:
    return warehouses[request.param]


@pytest.fixture
def figures(warehouse: Warehouse) -> dict[str, Any]:
    return live_figures(warehouse.query)


LINES = """
select
    lines.order_number,
    lines.order_date,
    lines.quantity_ordered,
    lines.revenue_amount,
    products.product_line,
    locations.region,
    lives.first_seen_at,
    lives.is_first_seen_in_log
from marts.fact_orders as lines
left join marts.dim_products as products
    on lines.product_version_key = products.product_version_key
left join marts.dim_locations as locations on lines.location_key = locations.location_key
left join marts.fact_order_life as lives on lines.order_number = lives.order_number
where lines.is_revenue
"""


def lines_of(warehouse: Warehouse, *days: date) -> list[tuple[Any, ...]]:
    return [line for line in warehouse.query(LINES) if line[1] in days]


def sold(lines: Iterable[tuple[Any, ...]], *, counted: bool = True) -> dict[str, Any]:
    """Rows of LINES added up, as JSON."""
    found = list(lines)
    return {
        "orders": len({line[0] for line in found}) if counted else None,
        "units": sum(line[2] for line in found),
        "revenue": str(sum((line[3] for line in found), Decimal("0.00"))),
    }


def test_days_are_the_sums_of_their_lines(figures: dict[str, Any], warehouse: Warehouse) -> None:
    assert figures["day"] == str(DAY)
    assert figures["days"] == [{"day": str(day), **sold(lines_of(warehouse, day))} for day in DAYS]
    for name, day in COMPARED.items():
        assert figures[name] == {"day": str(day), **sold(lines_of(warehouse, day))}
        assert figures[name]["orders"] > 5
    assert max(len(row["revenue"]) for row in figures["days"]) >= len("19999999999.98")
    assert figures["days"][0]["orders"] > 0  # the first of the days counts too


def test_shares_are_of_whole_days_in_tenths(figures: dict[str, Any]) -> None:
    for name in ("yesterday", "week_before"):
        for key in ("orders", "units", "revenue"):
            now, before = (Decimal(figures[day][key]) for day in ("today", name))
            share = Decimal(figures["shares"][name][key])
            assert share == round(share, 1)
            assert abs(share - 100 * now / before) <= Decimal("0.05")


def test_hours_are_those_of_the_commits(figures: dict[str, Any], warehouse: Warehouse) -> None:
    for name, day in COMPARED.items():
        lines = lines_of(warehouse, day)
        by_hour = defaultdict(list)
        for line in lines:
            commit = commit_of(line[0], day)
            kind = (
                "unknown" if commit is None else "in_day" if commit.date() == day else "other_day"
            )
            by_hour[kind, commit.hour if commit and kind == "in_day" else 0].append(line)
        hours = figures["hours"][name]
        assert hours["in_day"] == [sold(by_hour["in_day", hour]) for hour in range(24)]
        assert hours["other_day"] == sold(by_hour["other_day", 0])
        assert hours["unknown"] == sold(by_hour["unknown", 0])
        # Nothing is lost, and each kind is there.
        every = [*hours["in_day"], hours["other_day"], hours["unknown"]]
        assert sum(each["orders"] for each in every) == figures[name]["orders"]
        assert sum(Decimal(each["revenue"]) for each in every) == Decimal(figures[name]["revenue"])
        assert hours["other_day"]["orders"] and hours["unknown"]["orders"]
        assert hours["in_day"][9]["orders"]


def test_product_lines_and_regions(figures: dict[str, Any], warehouse: Warehouse) -> None:
    for key, place in (("lines", 4), ("regions", 5)):
        by_name = defaultdict(list)
        for line in lines_of(warehouse, *DAYS):
            by_name[line[place]].append(line)
        counted = key == "lines"
        assert {row["name"]: row for row in figures[key]} == {
            name: {
                "name": name,
                "today": sold((line for line in lines if line[1] == DAY), counted=counted),
                "days": sold(lines, counted=counted),
            }
            for name, lines in by_name.items()
        }
        revenue = [Decimal(row["today"]["revenue"]) for row in figures[key]]
        assert revenue == sorted(revenue, reverse=True) and len(revenue) > 2


def test_newest_orders(figures: dict[str, Any], warehouse: Warehouse) -> None:
    lines = defaultdict(list)
    for number, line, units, revenue in warehouse.query(
        "select order_number, product_line, quantity_ordered, revenue_amount"
        " from marts.fact_orders left join marts.dim_products using (product_version_key)"
    ):
        lines[number].append((line, units, revenue))
    orders = warehouse.query(
        "select order_number, first_seen_at, order_date, is_first_seen_in_log,"
        " country_standard_name, order_status from marts.fact_order_life"
        " left join marts.dim_locations using (location_key) where not is_deleted"
    )
    orders.sort(key=lambda row: (row[1], row[2] or date.min, row[0]), reverse=True)
    assert figures["orders"] == [
        {
            "number": number,
            "seen_at": f"{seen_at.isoformat(timespec='milliseconds')}Z",
            "is_commit": is_commit,
            "country": country,
            "lines": sorted({line for line, *_ in lines[number]}),
            "units": sum(units for _, units, _ in lines[number]),
            "revenue": str(sum((revenue for *_, revenue in lines[number]), Decimal("0.00"))),
            "status": status,
        }
        for number, seen_at, _, is_commit, country, status in orders[:NEWEST]
    ]
    assert len(figures["orders"]) == NEWEST
    assert {order["is_commit"] for order in figures["orders"]} == {True, False}
    assert any(len(order["lines"]) > 1 for order in figures["orders"])


def test_both_warehouses_say_the_same(warehouses: dict[str, Warehouse]) -> None:
    found = [live_figures(warehouse.query) for warehouse in warehouses.values()]
    assert found[0] == found[1]
    # Nothing in it that JSON bends.
    assert json.loads(json.dumps(found[0])) == found[0]
    assert "float" not in {type(value).__name__ for value in walk(found[0])}


def walk(value: Any) -> Iterable[Any]:
    """All values in a document."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from walk(each)
    else:
        yield value


def test_a_new_day_begins_without_sales(warehouse: Warehouse) -> None:
    tomorrow = DAY + timedelta(1)
    found = live_figures(warehouse.query, today=tomorrow)
    assert found["day"] == str(tomorrow)
    assert found["today"] == {"day": str(tomorrow), "orders": 0, "units": 0, "revenue": "0.00"}
    assert found["yesterday"] == live_figures(warehouse.query)["today"]
    assert found["shares"]["yesterday"]["revenue"] == "0.0"
    assert found["days"][0]["day"] == str(DAYS[1])


def test_shop_without_orders(tmp_path: Path, warehouses: dict[str, Warehouse]) -> None:
    full = warehouses["duckdb"]
    assert isinstance(full, DuckDBWarehouse)
    empty = DuckDBWarehouse(tmp_path / "warehouse.duckdb")  # views know its name
    empty.path.write_bytes(full.path.read_bytes())
    for table in ("fact_orders", "fact_order_life", "sales_last_30_days"):
        empty.query(f"delete from marts.{table}")
    write_sales_by_hour(empty, DAY)
    found = live_figures(empty.query)
    assert found["day"] == str(datetime.now(UTC).date())
    assert found["orders"] == found["lines"] == found["regions"] == []
    assert {row["revenue"] for row in found["days"]} == {"0.00"} and len(found["days"]) == 30
    assert found["shares"]["yesterday"] == {"orders": None, "units": None, "revenue": None}
    assert found["orders_changed_at"] is None


def test_an_order_that_moves_is_seen_at_once(
    tmp_path: Path, warehouses: dict[str, Warehouse]
) -> None:
    """Each figure is asked anew, and none is taken from a mart that is built more seldom."""
    full = warehouses["duckdb"]
    assert isinstance(full, DuckDBWarehouse)
    moved = DuckDBWarehouse(tmp_path / "warehouse.duckdb")
    moved.path.write_bytes(full.path.read_bytes())
    before = live_figures(moved.query)
    for (table,) in moved.query(
        "select table_name from duckdb_tables() where schema_name = 'marts' and table_name not in"
        " ('fact_orders', 'fact_order_life', 'sales_by_hour', 'sales_last_30_days')"
        " and table_name not like 'dim_%'"
    ):
        moved.query(f"drop table marts.{table}")
    ((number,),) = moved.query(
        f"select max(order_number) from marts.fact_orders where order_date = '{DAY}' and is_revenue"
    )
    moved.query(
        "update marts.fact_orders set revenue_amount = revenue_amount + 0.01"
        f" where order_number = {number} and order_line_number = 1"
    )
    write_sales_by_hour(moved, DAY)
    after = live_figures(moved.query)
    cent = Decimal(after["today"]["revenue"]) - Decimal(before["today"]["revenue"])
    assert cent == Decimal("0.01")


def test_role_that_may_not_read_personal_data_gets_the_same(
    tmp_path: Path, warehouses: dict[str, Warehouse], postgres: PostgresServer
) -> None:
    warehouse = warehouses["postgres"]
    project = Project(tmp_path / "project", as_of=DAY)
    postgres.execute("create role live_reader login password 'reads'")
    warehouse.query("grant usage on schema marts to live_reader")
    warehouse.query("grant select on marts.sales_by_hour to live_reader")
    warehouse.query("grant select (is_first_seen_in_log) on marts.fact_order_life to live_reader")
    for node in project.manifest(warehouse)["nodes"].values():
        if node["resource_type"] != "model" or node["schema"] != "marts":
            continue
        columns = node["columns"].values()
        allowed = [c["name"] for c in columns if not c["config"]["meta"]["personal_data"]]
        warehouse.query(
            f"grant select ({', '.join(allowed)}) on marts.{node['name']} to live_reader"
        )

    place = {"host": HOST, "port": postgres.port, "dbname": warehouse.database}
    reader = Postgres("postgres", "public", {**place, "user": "live_reader", "password": "reads"})
    with reader.reading() as ask:
        found = live_figures(ask, reader.marts)
    assert found == live_figures(warehouse.query)
    with pytest.raises(WarehouseError, match="permission denied"), reader.reading() as ask:
        ask("select contact_name from marts.dim_customers_current")


def test_page_names_the_marts_that_it_reads(warehouses: dict[str, Warehouse]) -> None:
    asked: list[str] = []

    def noted(sql: str) -> list[tuple[Any, ...]]:
        asked.append(sql)
        return warehouses["duckdb"].query(sql)

    live_figures(noted)
    read = {name for sql in asked for name in re.findall(r"marts\.(\w+)", sql)}
    (about,) = (line for line in ABOUT if line.startswith("The figures come from "))
    listed = about.removeprefix("The figures come from ").partition(" in the warehouse")[0]
    # The day is asked of it where the one who asks does not know it.
    assert read - {"sales_last_30_days"} == set(re.split(", | and ", listed))
    assert len(asked) <= 8


class Following:
    """Marts that say what a test wants of them, instead of building for minutes."""

    is_whole = True

    def __init__(self) -> None:
        self.said: list[str] = []
        self.told: dict[str, Any] = {
            "state": "a complete build runs",
            "built_at": "",
            "through": "",
            "tested_at": "",
            "failed": [],
            "slow": {"built_at": "", "every": 300.0, "seconds_by_model": {}},
        }

    def begin(self, stop: threading.Event) -> None:
        self.said.append("begin")

    def after_batch(self, committed_at: float) -> None:
        self.said.append(f"after {committed_at}")

    def is_due(self, *, quiet: bool) -> bool:
        return quiet

    def work(self, *, quiet: bool) -> None:
        self.said.append(f"work {quiet}")

    def status(self) -> dict[str, Any]:
        return dict(self.told)


def test_marts_are_shown_after_each_of_their_runs(
    tmp_path: Path, warehouses: dict[str, Warehouse]
) -> None:
    full = warehouses["duckdb"]
    assert isinstance(full, DuckDBWarehouse)
    copy = DuckDBWarehouse(tmp_path / "warehouse.duckdb")
    marts = Following()
    page = LivePage(port=0, say=lambda _: None)
    place = DuckDB("duckdb", "main", {"path": str(copy.path)})
    shown = ShownMarts(cast(Any, marts), place, page, marts.said.append)
    shown.told({"mode": "log", "source": "mysql://u:secret@h/shop"})
    shown.begin(threading.Event())
    assert marts.said == ["begin"] and shown.is_due(quiet=True)
    assert page.state["figures"] is None and page.state["error"] == ""

    # The build has ended.
    copy.path.write_bytes(full.path.read_bytes())
    marts.told |= {"state": "follow", "built_at": "2026-11-20T15:00:00.000+00:00"}
    marts.told["tested_at"] = "2026-11-20T14:59:00.000+00:00"
    shown.work(quiet=True)
    figures = live_figures(copy.query)
    assert page.state == {
        "figures": figures,
        "through": "",
        "built_at": "2026-11-20T15:00:00.000+00:00",
        "tested_at": "2026-11-20T14:59:00.000+00:00",
        "failed": [],
        "slow": {"built_at": "", "every": 300.0},
        "mode": "log",
        "source": "mysql://u@h/shop",
        "warehouse": f"duckdb: {copy.path}",
        "error": "",
        "note": "",
    }

    # While nobody reads the page, it waits for a quiet moment, or until somebody does.
    number = page.parts()[0]
    marts.told["built_at"] = "2026-11-20T15:00:00.500+00:00"
    shown.after_batch(1.0)
    assert page.parts()[0] == number and not shown.is_due(quiet=False)
    page.asked_at = time.monotonic()
    assert page.is_read and shown.is_due(quiet=False)
    shown.work(quiet=False)
    assert marts.said[-1] == "after 1.0"  # the marts had nothing to do
    assert page.state["built_at"] == marts.told["built_at"] and not shown.is_due(quiet=False)

    # A batch that built nothing, and one that did.
    number = page.parts()[0]
    copy.query("update marts.sales_by_hour set revenue_amount = revenue_amount + 1")
    shown.after_batch(1.5)
    assert page.parts()[0] == number and page.state["figures"] == figures
    marts.told |= {"built_at": "2026-11-20T15:00:01.000+00:00", "through": "2026-11-20T15:00:00Z"}
    shown.work(quiet=True)
    assert marts.said[-2:] == ["after 1.5", "work True"]
    after = page.state["figures"]
    assert after == live_figures(copy.query) != figures
    assert page.state["through"] == "2026-11-20T15:00:00Z"

    # What goes wrong is shown, and the figures stay; also where they cannot be asked.
    marts.told["state"] = "failed: Marts were not built: fact_orders."
    shown.after_batch(2.5)
    assert page.state["error"] == marts.told["state"] and page.state["figures"] == after
    marts.told |= {"state": "follow, but the slow marts failed", "failed": [{"test": "t"}]}
    shown.after_batch(3.5)
    assert (page.state["error"], page.state["note"]) == ("", marts.told["state"])
    assert page.state["failed"] == [{"test": "t"}]
    copy.query("drop table marts.sales_by_hour")
    marts.told |= {"state": "follow", "built_at": "2026-11-20T15:00:02.000+00:00"}
    shown.after_batch(4.5)
    assert "sales_by_hour" in page.state["error"] and page.state["figures"] == after
    assert page.state["built_at"] == "2026-11-20T15:00:01.000+00:00"
    # It is tried again.
    write_sales_by_hour(copy, DAY)
    shown.after_batch(5.5)
    assert page.state["error"] == "" and page.state["built_at"].startswith("2026-11-20T15:00:02")
    assert page.status() == {"mode": "log", "source": "mysql://u:secret@h/shop"}
    shown.end()
    assert page.is_closing


def test_a_watch_goes_on_without_a_page_that_cannot_be_served(tmp_path: Path) -> None:
    marts, place = Following(), DuckDB("duckdb", "main", {"path": str(tmp_path / "w.duckdb")})
    with LivePage(port=0, say=lambda _: None) as other:
        port = int(other.address.rstrip("/").rpartition(":")[2])
        shown = ShownMarts(cast(Any, marts), place, LivePage(port=port), marts.said.append)
        shown.begin(threading.Event())
    assert "choose another port or address. The watch goes on without it." in marts.said[0]
    shown.after_batch(1.5)
    shown.end()
    assert marts.said[1:] == ["begin", "after 1.5"]
