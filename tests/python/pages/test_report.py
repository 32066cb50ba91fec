"""The report: what its page shows is what the marts say, and anybody can read it, offline.

What is expected is added up in Python, from other marts where there are any; the report's SQL has
no part in it.
"""

from __future__ import annotations

import re
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page
from sqlglot import exp

from loader.destinations.redshift.settings import driver_parameters
from pages.report.customers import customers_section
from pages.report.figures import CURRENCY, Figures, Sales, Sold, read_figures
from pages.report.page import ABOUT, render
from pages.report.sales import sales_section
from pipeline.report import write_report
from pipeline.warehouse import DuckDB, Postgres, Redshift, WarehouseError
from sample_shop.shop import create_shop
from support.built import DAY, LOADS, BuiltWarehouses
from support.one_run import own
from support.project import DuckDBWarehouse, PostgresWarehouse, Project, ShimWarehouse, Warehouse
from support.shim import Shim, prepare
from tools.servers import HOST, PostgresServer

LAST_DAY = DAY
LIMIT = 2_000_000  # bytes of the page
HOSTILE = (
    "<script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 1">',
    "O'Brien & Söhne {{ 7 * 7 }} {% raw %} %s {marts}",
    "🚂 \N{ARABIC LETTER SHEEN}\N{ARABIC LETTER REH} \N{RIGHT-TO-LEFT OVERRIDE}abc",
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 3,
)
NO_TESTS = ("--exclude-resource-type", "test", "unit_test")


def target_of(warehouse: Warehouse, **login: str) -> DuckDB | Postgres | Redshift:
    """What the profile would lead to; `login` is of another user."""
    if isinstance(warehouse, DuckDBWarehouse):
        return DuckDB("duckdb", "main", {"path": str(warehouse.path)})
    if isinstance(warehouse, ShimWarehouse):
        return Redshift("redshift", "public", driver_parameters(warehouse.variables))
    assert isinstance(warehouse, PostgresWarehouse)
    server = warehouse.server
    place = {"host": HOST, "port": server.port, "dbname": warehouse.database}
    own = {"user": server.user, "password": server.password}
    return Postgres("postgres", "public", place | own | login)


def figures_of(warehouse: Warehouse) -> Figures:
    with target_of(warehouse).reading() as ask:
        return read_figures(ask, "marts")


# -- the shop, in three warehouses ----------------------------------------------------------------


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"), as_of=LAST_DAY)


@pytest.fixture(scope="module")
def warehouses(
    project: Project, built: BuiltWarehouses, postgres: PostgresServer, shim: Shim
) -> dict[str, Warehouse]:
    """The sample shop, whose second load, at another hour, brought orders and other changes."""
    duckdb, there = (
        built.copy(target, "changed", "report", project.folder).warehouse
        for target in ("duckdb", "postgres")
    )
    # Redshift answers for the marts that were built on PostgreSQL.
    redshift = ShimWarehouse(shim, postgres, own("report_redshift"), there.database)
    prepare(postgres, redshift.database)
    return {"duckdb": duckdb, "postgres": there, "redshift": redshift}


# -- the page as it is read -----------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """A table of the page, its numbers as numbers and a dash as None."""

    head: list[str]
    rows: list[list[Any]]
    foot: list[Any]


READ = """
() => [...document.querySelectorAll('table')].map(table => [
    table.caption.textContent,
    [...table.tHead.rows[0].cells].map(cell => cell.textContent.trim()),
    [...table.tBodies[0].rows].map(row => [...row.cells].map(cell => cell.textContent.trim())),
    table.tFoot ? [...table.tFoot.rows[0].cells].map(cell => cell.textContent.trim()) : [],
])
"""
NUMBER = re.compile(r"[+\u2212]?[0-9]{1,3}(,[0-9]{3})*(\.[0-9]+)?(\u00a0%)?")


def value_of(shown: str) -> Any:
    """What a cell says: a number, None for a dash or nothing, or its text."""
    if shown in ("\u2013", ""):
        return None
    if NUMBER.fullmatch(shown):
        return Decimal(re.sub(r"[,+\u00a0%]", "", shown).replace("\u2212", "-"))
    return shown


def tables_on(page: Page) -> dict[str, Shown]:
    """The tables by their captions."""
    found = {
        caption: Shown(
            head, [[value_of(c) for c in row] for row in rows], [value_of(c) for c in foot]
        )
        for caption, head, rows, foot in page.evaluate(READ)
    }
    assert len(found) == page.locator("table").count(), "two tables have one caption"
    return found


@pytest.fixture
def opened(page: Page, tmp_path: Path) -> Iterator[Callable[[str], Page]]:
    """How to open a page from disk: at the end it has asked for nothing else and had no error."""
    asked: list[str] = []
    said: list[str] = []
    page.context.set_offline(True)
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    path = tmp_path / "the report.html"

    def open_page(html: str) -> Page:
        path.write_text(html, "utf-8")
        page.goto(path.as_uri())
        return page

    yield open_page
    assert set(asked) == {path.as_uri()}
    assert said == []
    assert page.evaluate("window.hacked") is None


def written(warehouse: Warehouse) -> str:
    """The page as the command writes it, without the moment of writing."""
    return render(figures_of(warehouse), datetime(2026, 11, 20, 15, 0, tzinfo=UTC))


# -- what the marts say ---------------------------------------------------------------------------


def tenths(part: Any, whole: Any) -> Decimal | None:
    """A part in percent, to a tenth, halves away from zero; in whole numbers only."""
    if not whole or whole < 0:
        return None
    share = (abs(int(part * 100)) * 2000 + int(whole * 100)) // (2 * int(whole * 100))
    return Decimal(share if part >= 0 else -share) / 10


def window(last: date) -> list[date]:
    return [last - timedelta(29 - n) for n in range(30)]


WINDOWS = (
    window(LAST_DAY),
    window(LAST_DAY - timedelta(30)),
    window(LAST_DAY.replace(year=LAST_DAY.year - 1)),
)


@dataclass
class Added:
    """Order lines added up."""

    orders: set[int]
    units: int = 0
    revenue: Decimal = Decimal("0.00")
    margin: Decimal = Decimal("0.00")


def added(lines: Iterable[tuple[Any, ...]]) -> Added:
    """Of rows of ORDER_LINES."""
    found = Added(set())
    for order, _, units, revenue, margin, *_ in lines:
        found.orders.add(order)
        found.units += units
        found.revenue += revenue
        found.margin += margin or 0
    return found


ORDER_LINES = (
    "select order_number, order_date, quantity_ordered, revenue_amount, gross_margin_amount,"
    " product_line_at_order, product_code from marts.orders_obt where is_revenue"
)


def lines_in(warehouse: Warehouse, days: list[date]) -> list[tuple[Any, ...]]:
    return [line for line in warehouse.query(ORDER_LINES) if line[1] in days]


# A quick test holds that the page is the same from each.
@pytest.fixture(params=["duckdb", pytest.param("postgres", marks=pytest.mark.long)])
def warehouse(request: pytest.FixtureRequest, warehouses: dict[str, Warehouse]) -> Warehouse:
    return warehouses[request.param]


@pytest.fixture(scope="module")
def read_once() -> dict[str, dict[str, Shown]]:
    """By target: the tables of its page, which no test changes."""
    return {}


@pytest.fixture
def shown(
    warehouse: Warehouse, read_once: dict[str, dict[str, Shown]], request: pytest.FixtureRequest
) -> dict[str, Shown]:
    if warehouse.target not in read_once:
        opened = request.getfixturevalue("opened")
        read_once[warehouse.target] = tables_on(opened(written(warehouse)))
    return read_once[warehouse.target]


def test_totals_and_their_changes(shown: dict[str, Shown], warehouse: Warehouse) -> None:
    sums = [added(lines_in(warehouse, days)) for days in WINDOWS]
    assert all(found.orders for found in sums)

    def row(name: str, values: list[Any]) -> list[Any]:
        now, *others = values
        changes = [(v, now - v, tenths(now - v, v)) for v in others]
        return [name, now, *(cell for change in changes for cell in change)]

    average = [
        Decimal((int(s.revenue * 100) * 2 + len(s.orders)) // (2 * len(s.orders))) / 100
        for s in sums
    ]
    assert shown["Totals and their changes"].rows == [
        row("Revenue, USD", [s.revenue for s in sums]),
        row("Gross margin, USD", [s.margin for s in sums]),
        row("Orders", [len(s.orders) for s in sums]),
        row("Pieces sold", [s.units for s in sums]),
        row("Average order, USD", average),
    ]


def test_days(shown: dict[str, Shown], warehouse: Warehouse) -> None:
    by_day = defaultdict(list)
    for line in warehouse.query(ORDER_LINES):
        by_day[line[1]].append(line)
    expected, revenue = [], []
    for day, before, year in zip(*WINDOWS, strict=True):
        now = added(by_day[day])
        earlier = [added(by_day[other]).revenue for other in (before, year)]
        written_day = f"{day.day} {day:%b %Y}"
        expected.append(
            [written_day, len(now.orders), now.units, now.revenue, now.margin, *earlier]
        )
        revenue.append((now.revenue, *earlier))
    days = shown["Sales day by day"]
    assert days.rows == expected
    assert days.foot == [
        "Total",
        *(sum(column) for column in list(zip(*expected, strict=True))[1:]),
    ]
    running = [list(accumulate(column)) for column in zip(*revenue, strict=True)]
    assert shown["Revenue added up from the first day"].rows == [
        [row[0], *sums] for row, *sums in zip(expected, *running, strict=True)
    ]


def compared(name: str, sums: list[Any], whole: Decimal) -> list[Any]:
    """A row of the tables by name: pieces, revenue of three periods, and margin."""
    units, now, before, year, margin = sums
    return [
        *(name, units, now, tenths(now, whole)),
        *(before, tenths(now - before, before), year, tenths(now - year, year)),
        *(margin, tenths(margin, now)),
    ]


def expected_by(rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    """Rows of a name and five sums, added up by name, the largest revenue first."""
    sums: dict[str, list[Any]] = {}
    for name, *values in rows:
        before = sums.get(name, [0] * 5)
        sums[name] = [a + b for a, b in zip(before, values, strict=True)]
    whole = sum((v[1] for v in sums.values()), Decimal())
    ordered = sorted(sums.items(), key=lambda found: -found[1][1])
    return [compared(name, values, whole) for name, values in ordered if any(values)]


LAST_30_DAYS = (
    "select {}, unit_count, revenue_amount, revenue_amount_before, revenue_amount_year_before,"
    " gross_margin_amount from marts.sales_last_30_days"
)


def test_product_lines_and_regions_are_those_of_their_mart(
    shown: dict[str, Shown], warehouse: Warehouse
) -> None:
    regions = expected_by(warehouse.query(LAST_30_DAYS.format("region")))
    assert len(regions) >= 4
    assert shown["Sales by region"].rows == regions
    lines = expected_by(warehouse.query(LAST_30_DAYS.format("product_line")))
    orders = defaultdict(set)
    for order, *_, line, _ in lines_in(warehouse, WINDOWS[0]):
        orders[line].add(order)
    with_orders = [[name, len(orders[name]), *rest] for name, *rest in lines]
    assert shown["Sales by product line"].rows == with_orders
    total = shown["Sales by product line"].foot
    assert total[1] is None  # orders of product lines do not add up
    assert shown["Sales by region"].foot == ["Total", *total[2:]]
    assert total[2:4] == [sum(row[place] for row in lines) for place in (1, 2)]


def test_countries_are_all_there_the_smallest_together(
    shown: dict[str, Shown], warehouse: Warehouse
) -> None:
    found = []
    for country, day, units, revenue, margin in warehouse.query(
        "select country, order_date, unit_count, revenue_amount, gross_margin_amount"
        " from marts.sales_daily where unit_count > 0"
    ):
        is_in = [day in days for days in WINDOWS]
        amounts = [revenue * flag for flag in is_in]
        found.append((country, units * is_in[0], *amounts, margin * is_in[0]))
    expected = expected_by(found)
    assert len(expected) > 10
    rows = shown["Sales by country"].rows
    assert [row[:3] for row in rows[:9]] == [row[:3] for row in expected[:9]]
    whole = sum(row[2] for row in expected)
    names = {row[0] for row in rows[:9]}
    rest = [
        sum(column) for column in zip(*(f[1:] for f in found if f[0] not in names), strict=True)
    ]
    assert rows[9:] == [compared(f"{len(expected) - 9} other countries", rest, whole)]


def test_products(shown: dict[str, Shown], warehouse: Warehouse) -> None:
    before = defaultdict(Decimal)
    for *_, code in (found := lines_in(warehouse, WINDOWS[1])):
        before[code] = sum((line[3] for line in found if line[-1] == code), Decimal())
    by_code = defaultdict(list)
    for line in lines_in(warehouse, WINDOWS[0]):
        by_code[line[-1]].append(line)
    known = {
        code: rest
        for code, *rest in warehouse.query(
            "select product_code, product_name, product_line, quantity_in_stock_now,"
            " stock_cover_days from marts.product_performance"
        )
    }
    expected = []
    for code, lines in by_code.items():
        name, line, stock, cover = known[code]
        now = added(lines)
        change = tenths(now.revenue - before[code], before[code])
        expected.append(
            [
                *(name, line, now.units, now.revenue, before[code], change, now.margin),
                *(tenths(now.margin, now.revenue), stock, cover),
            ]
        )
    expected.sort(key=lambda row: -row[3])
    assert shown["The 10 products with the most revenue"].rows == expected[:10]


def test_hours(shown: dict[str, Shown], warehouse: Warehouse) -> None:
    rows = warehouse.query(
        "select hour_of_day, order_count, unit_count, revenue_amount"
        " from marts.sales_by_arrival_hour where not is_first_load"
    )
    assert [row[0] for row in rows] == [LOADS[1].hour]
    table = shown["Orders by the hour in which a load first saw them, after the first load"]
    assert table.rows == [["14:00", *rows[0][1:]]]
    assert table.foot == ["Total", *rows[0][1:]]


RECEIVABLES = (
    "select not_due_amount, overdue_1_to_30_amount, overdue_31_to_60_amount,"
    " overdue_61_to_90_amount, overdue_over_90_amount, customer_name, territory, open_amount,"
    " overdue_amount, credit_limit, oldest_due_date, customer_key from marts.customer_receivables"
)


def test_receivables(shown: dict[str, Shown], warehouse: Warehouse) -> None:
    rows = warehouse.query(RECEIVABLES)
    whole = sum(row[7] for row in rows)
    ages = shown["Receivables by days overdue"]
    assert [row[1:] for row in ages.rows] == [
        [
            sum(row[n] > 0 for row in rows),
            sum(row[n] for row in rows),
            tenths(sum(row[n] for row in rows), whole),
        ]
        for n in range(5)
    ]
    assert ages.foot == ["Total", None, whole, 100]
    owing = sorted((row for row in rows if row[7]), key=lambda row: -row[7])[:10]
    assert shown["The 10 customers who owe most"].rows == [
        [
            *(name, territory, owed, overdue, limit, tenths(owed, limit)),
            "yes" if limit is not None and owed > limit else "no",
            None if due is None else f"{due.day} {due:%b %Y}",
        ]
        for *_, name, territory, owed, overdue, limit, due, _ in owing
    ]


def test_credit_limits(shown: dict[str, Shown], warehouse: Warehouse) -> None:
    bands: dict[str, list[Any]] = {}
    for *_, owed, _, limit, _, key in warehouse.query(RECEIVABLES):
        if key == "-1":
            continue
        name = "No credit limit"
        if limit == 0 and owed:
            name = "Above the limit"
        elif limit:
            used = owed / limit
            name = (
                "Nothing open"
                if not owed
                else "Up to half used"
                if used <= Decimal("0.5")
                else ("More than half used" if used <= 1 else "Above the limit")
            )
        before = bands.get(name, [0, 0, 0])
        bands[name] = [before[0] + 1, before[1] + (limit or 0), before[2] + owed]
    table = shown["Customers by use of their credit limit"]
    assert len(bands) == 5
    assert {row[0]: row[1:] for row in table.rows} == bands
    assert table.foot == ["Total", *map(sum, zip(*bands.values(), strict=True))]


def test_figures_that_appear_twice_agree(warehouse: Warehouse) -> None:
    figures = figures_of(warehouse)
    sections = [sales_section(figures), customers_section(figures)]
    cards = {card.label: value_of(card.value) for part in sections for card in part.cards}
    tables = {table.caption: table for part in sections for f in part.figures for table in f.tables}

    def foot(caption: str, column: str) -> Any:
        table = tables[caption]
        place = [title for title, _ in table.head].index(column)
        return value_of(table.foot[place])

    def column(caption: str, title: str) -> list[Any]:
        table = tables[caption]
        place = [title for title, _ in table.head].index(title)
        return [value_of(row[place]) for row in table.body]

    sales = ("Sales day by day", "Sales by product line", "Sales by country", "Sales by region")
    totals = {row[0]: value_of(row[1]) for row in tables["Totals and their changes"].body}
    for measure, title in (
        ("Revenue, USD", "Revenue, USD"),
        ("Pieces sold", "Pieces"),
        ("Gross margin, USD", "Gross margin, USD"),
    ):
        known = {caption: foot(caption, title) for caption in sales}
        assert known == dict.fromkeys(sales, totals[measure]), measure
    for name, value in cards.items():
        assert totals.get(name, totals.get(f"{name}, USD", value)) == value, name

    ages = tables["Receivables by days overdue"].body
    assert cards["Receivables"] == foot("Receivables by days overdue", "Amount, USD")
    assert cards["Overdue"] == sum(value_of(row[2]) for row in ages[1:])
    assert foot("Orders and payments that match", "Difference, USD") == (
        cards["Receivables"] - cards["Paid in advance"]
    )
    use = "Customers by use of their credit limit"
    above = [
        n
        for name, n in zip(*(column(use, t) for t in ("Credit limit", "Customers")), strict=True)
        if name == "Above the limit"
    ]
    assert cards["Above their credit limit"] == sum(above)
    debtors = "The 10 customers who owe most"
    assert column(debtors, "Above the limit").count("yes") <= cards["Above their credit limit"]
    segments = foot("Customers by segment", "Customers")
    assert segments == foot(use, "Customers")
    assert figures.payments[-1][5] == cards["Receivables"] - cards["Paid in advance"]


def test_payments(shown: dict[str, Shown], warehouse: Warehouse) -> None:
    rows = warehouse.query(
        "select month_start_date, payment_count, payment_amount, ordered_amount,"
        " difference_amount, balance_amount from marts.payments_monthly order by 1"
    )
    assert len(rows) > 24
    expected = [[f"{month:%b %Y}", *rest] for month, *rest in rows[-24:]]
    assert shown["Paid and ordered by month, the last 24 months"].rows == expected


def test_segments(shown: dict[str, Shown], warehouse: Warehouse) -> None:
    segments: dict[str, list[Any]] = {}
    for name, risk, orders, revenue in warehouse.query(
        "select segment, churn_risk, order_count, revenue_amount from marts.customer_segments"
    ):
        sums = segments.setdefault(name, [0, 0, 0, 0, 0, 0])
        risks = [risk == level for level in ("High", "Medium", "Low")]
        segments[name] = [a + b for a, b in zip(sums, [1, orders, revenue, *risks], strict=True)]
    whole = sum(sums[2] for sums in segments.values())
    table = shown["Customers by segment"]
    assert {row[0]: row[1:] for row in table.rows} == {
        name: [*sums[:3], tenths(sums[2], whole), *sums[3:]] for name, sums in segments.items()
    }
    assert table.foot[1:4] == [
        sum(column) for column in list(zip(*segments.values(), strict=True))[:3]
    ]


def test_matches_and_differences(shown: dict[str, Shown], warehouse: Warehouse) -> None:
    rows = warehouse.query(
        "select match_status, order_amount, payment_amount, difference_amount, customer_name,"
        " order_number, check_number, coalesce(order_date, payment_date)"
        " from marts.payment_matches inner join marts.dim_customers_current using (customer_key)"
    )
    found: dict[str, list[Any]] = {}
    for status, *amounts in (row[:4] for row in rows):
        before = found.get(status, [0] * 4)
        found[status] = [a + b for a, b in zip(before, [1, *amounts], strict=True)]
    table = shown["Orders and payments that match"]
    assert len(found) == 3
    assert {row[0]: row[1:] for row in table.rows} == found
    assert table.foot == ["Total", *map(sum, zip(*found.values(), strict=True))]
    largest = sorted((row for row in rows if row[3]), key=lambda row: -abs(row[3]))[:10]
    assert shown["The 10 largest differences between orders and payments"].rows == [
        [name, status, number and str(number), check, f"{day.day} {day:%b %Y}", difference]
        for status, _, _, difference, name, number, check, day in largest
    ]


# -- what the page stands on ----------------------------------------------------------------------


def test_page_is_the_same_from_all_warehouses(warehouses: dict[str, Warehouse]) -> None:
    pages = {name: written(warehouse) for name, warehouse in warehouses.items()}
    assert pages["duckdb"] == pages["postgres"] == pages["redshift"]


def asked_of(warehouse: Warehouse) -> set[str]:
    """The tables that the report's queries name, with their schemas."""
    found: set[str] = set()
    with target_of(warehouse).reading() as ask:

        def noted(sql: str) -> list[tuple[Any, ...]]:
            tree = sqlglot.parse_one(sql, dialect="duckdb")
            defined = {cte.alias for cte in tree.find_all(exp.CTE)}
            tables = {f"{table.db}.{table.name}" for table in tree.find_all(exp.Table)}
            found.update(tables - {f".{name}" for name in defined})
            return ask(sql)

        read_figures(noted, "marts")
    return found


def test_page_names_the_marts_that_it_reads(warehouses: dict[str, Warehouse]) -> None:
    (about,) = (line for line in ABOUT if line.startswith("The figures come from "))
    listed = about.removeprefix("The figures come from ").partition(" in the warehouse")[0]
    assert asked_of(warehouses["duckdb"]) == {
        f"marts.{name}" for name in re.split(", | and ", listed)
    }


def test_role_that_may_not_read_personal_data_writes_the_same_page(
    project: Project, warehouses: dict[str, Warehouse], postgres: PostgresServer
) -> None:
    warehouse = warehouses["postgres"]
    postgres.execute("create role report_reader login password 'reads'")
    warehouse.query("grant usage on schema marts to report_reader")
    hidden = 0
    for node in project.manifest(warehouse)["nodes"].values():
        if node["resource_type"] != "model" or node["schema"] != "marts":
            continue
        columns = node["columns"].values()
        allowed = [c["name"] for c in columns if not c["config"]["meta"]["personal_data"]]
        hidden += len(columns) - len(allowed)
        columns_list = ", ".join(allowed)
        warehouse.query(f"grant select ({columns_list}) on marts.{node['name']} to report_reader")
    assert hidden > 20
    reader = target_of(warehouse, user="report_reader", password="reads")
    with reader.reading() as ask:
        page = render(read_figures(ask, reader.marts), datetime(2026, 11, 20, 15, tzinfo=UTC))
    assert page == written(warehouse)
    with pytest.raises(WarehouseError, match="permission denied"), reader.reading() as ask:
        ask("select contact_name from marts.dim_customers_current")
    with pytest.raises(WarehouseError, match="permission denied"), reader.reading() as ask:
        ask("select * from raw_classicmodels.customers")


def test_amounts_are_in_the_currency_of_the_catalog(
    project: Project, warehouses: dict[str, Warehouse]
) -> None:
    nodes = project.manifest(warehouses["duckdb"])["nodes"].values()
    read = {name.removeprefix("marts.") for name in asked_of(warehouses["duckdb"])}
    units = {
        column["config"]["meta"]["unit"]
        for node in nodes
        if node["name"] in read
        for column in node["columns"].values()
        if re.fullmatch(".*_amount|credit_limit", column["name"])
    }
    assert units == {CURRENCY}


def test_all_queries_see_one_moment(warehouses: dict[str, Warehouse]) -> None:
    # On PostgreSQL. DuckDB lets nobody write meanwhile, and a transaction on Redshift always does.
    count = "select count(*) from marts.moments"
    owner = warehouses["postgres"]
    owner.query("create table marts.moments (number integer)")
    with target_of(owner).reading() as ask:
        before = ask(count)
        owner.query("insert into marts.moments values (1)")
        assert ask(count) == before == [(0,)]
    assert target_of(owner).ask(count) == [(1,)]
    owner.query("drop table marts.moments")


# -- the days that are shown ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("as_of", "last_shown", "said"),
    [
        pytest.param(LAST_DAY, LAST_DAY, [], marks=pytest.mark.long),
        (LAST_DAY - timedelta(100), LAST_DAY - timedelta(100), []),
        (
            LAST_DAY + timedelta(5),
            LAST_DAY + timedelta(5),
            ["Data go through 20 Nov 2026", "The 5 days after that have no data yet"],
        ),
        (
            date(2028, 2, 29),
            LAST_DAY,
            [
                "Nothing was sold in the 30 days to 29 Feb 2028.",
                "Data go through 20 Nov 2026",
                "make build AS_OF_DATE=2026-11-20",
            ],
        ),
        pytest.param(
            date(2020, 1, 1),
            date(2020, 1, 1),
            ["nothing was sold up to 1 Jan 2020"],
            marks=pytest.mark.long,
        ),
    ],
    ids=["today", "earlier", "days without data", "long after", "before the first sale"],
)
def test_as_of_date_moves_the_page(
    as_of: date,
    last_shown: date,
    said: list[str],
    warehouses: dict[str, Warehouse],
    tmp_path: Path,
    opened: Callable[[str], Page],
) -> None:
    warehouse = warehouses["duckdb"]
    assert isinstance(warehouse, DuckDBWarehouse)
    copy = DuckDBWarehouse(tmp_path / "warehouse.duckdb")  # views know its name
    copy.path.write_bytes(warehouse.path.read_bytes())
    moved = Project(tmp_path / "project", as_of=as_of)
    outcome = moved.dbt(copy, "run", "-s", "customer_receivables", "product_performance")
    assert outcome.green, outcome
    page = opened(written(copy))
    notice = page.locator(".notice")
    text = notice.inner_text() if notice.count() else ""
    assert bool(said) == bool(text) and all(words in text for words in said), text
    assert page.locator("dl.facts dd").all_inner_texts()[0] == f"{as_of.day} {as_of:%b %Y}"
    days = window(last_shown)
    lines = lines_in(copy, days)
    tables = tables_on(page)
    rows = tables["Sales day by day"].rows
    assert [row[0] for row in rows] == [f"{day.day} {day:%b %Y}" for day in days]
    now = added(lines)
    assert [row[1] for row in tables["Totals and their changes"].rows[:4]] == [
        *(now.revenue, now.margin, len(now.orders), now.units)
    ]
    # A day that no load has brought yet is not one without sales.
    assert [row[0] for row in rows if row[1] is None] == [
        f"{day.day} {day:%b %Y}" for day in days if day > LAST_DAY
    ]
    assert page.get_by_text("no data yet", exact=True).count() == (last_shown > LAST_DAY)
    if as_of == LAST_DAY - timedelta(100):
        assert now.orders


def test_shop_without_a_row_says_so(tmp_path: Path, opened: Callable[[str], Page]) -> None:
    project = Project(tmp_path / "project", as_of=LAST_DAY)
    shop = tmp_path / "shop.sqlite"
    create_shop(f"sqlite:///{shop}", as_of=LAST_DAY)
    with closing(sqlite3.connect(shop)) as database:
        for table in ("orderdetails", "orders", "payments", "customers", "products"):
            database.execute(f"delete from {table}")
        database.commit()
    warehouse = DuckDBWarehouse(tmp_path / "warehouse.duckdb")
    warehouse.load(f"sqlite:///{shop}")
    outcome = project.dbt(warehouse, "build", *NO_TESTS)
    assert outcome.green, outcome
    page = opened(written(warehouse))
    said = page.locator("main").inner_text()
    for words in (
        "The shop has no orders and no payments yet",
        "Nothing was sold in any of the periods.",
        "Nobody owes anything.",
        "Nothing was ordered or paid.",
        "There are no customers.",
    ):
        assert words in said
    assert "None" not in said and "NaN" not in said
    assert_accessible(page)


# -- how it can be read ---------------------------------------------------------------------------


def assert_accessible(page: Page) -> None:
    """axe-core finds nothing, in light and dark, with all tables open."""
    page.evaluate("document.querySelectorAll('details').forEach(found => found.open = true)")
    # In the dark only colors differ.
    schemes: dict[Any, Any] = {"light": {}, "dark": {"runOnly": ["color-contrast"]}}
    for scheme, rules in schemes.items():
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page, options={"resultTypes": ["violations"], **rules})
        assert found.violations_count == 0, found.generate_report()


@pytest.fixture(scope="module")
def html(warehouses: dict[str, Warehouse]) -> str:
    return written(warehouses["duckdb"])


@pytest.fixture
def read(html: str, opened: Callable[[str], Page]) -> Page:
    return opened(html)


def test_file_is_small_and_whole(
    warehouses: dict[str, Warehouse], tmp_path: Path, page: Page
) -> None:
    place = tmp_path / "report.html"
    said = write_report(target_of(warehouses["duckdb"]), place)
    size = place.stat().st_size
    assert said == f"{place}, {size / 1000:,.0f} kB"
    assert 50_000 < size < LIMIT
    assert [path.name for path in place.parent.iterdir()] == [place.name]
    # The page forbids itself what it does not need.
    page.goto(place.as_uri())
    assert page.locator("script").count() == 0
    policy = page.locator('meta[http-equiv="Content-Security-Policy"]').get_attribute("content")
    assert policy and policy.startswith("default-src 'none'")


def test_page_is_accessible(read: Page) -> None:
    assert_accessible(read)


def test_every_chart_has_a_name_a_description_and_its_table(read: Page) -> None:
    figures = read.locator("article")
    charts = read.locator("article:has(svg.chart)")
    assert charts.count() >= 10 and figures.count() > charts.count()
    for figure in charts.all():
        title = figure.locator("h3").inner_text()
        assert figure.get_by_role("img", name=title, exact=True).count() == 1
        assert figure.locator("desc").text_content()
        assert figure.locator("details table tbody tr").count() > 0
    for figure in figures.all():
        assert figure.locator("table").count() > 0
    levels = read.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(h => h.tagName)")
    assert levels[:3] == ["H1", "H2", "H3"] and levels.count("H1") == 1
    for cell in read.locator("th").all():
        assert cell.get_attribute("scope") in ("col", "row")


def test_bars_are_as_long_as_their_values(read: Page) -> None:
    drawn = read.locator("#lines-text + g, #lines-text ~ g")
    rows = tables_on(read)["Sales by product line"].rows
    assert drawn.count() == len(rows)
    scale = max(max(row[3], row[5]) for row in rows)
    for bar, row in zip(drawn.all(), rows, strict=True):
        name, _, _, revenue, _, before, *_ = row
        assert bar.locator("title").text_content() == f"{name}: {revenue:,.2f}"
        width = bar.locator(".bar").get_attribute("width") or ""
        mark = bar.locator(".mark").get_attribute("x") or ""
        # To the hundredth of a percent that is drawn.
        assert width == f"{100 * float(revenue) / float(scale):.2f}%"
        assert mark == f"{min(100 * float(before) / float(scale), 99.3):.2f}%"


def test_columns_are_as_high_as_their_values(read: Page) -> None:
    rows = tables_on(read)["Sales day by day"].rows
    drawn = read.locator("#days-text ~ g").all()
    heights = [float(column.locator(".bar").get_attribute("height") or 0) for column in drawn]
    best = max(row[3] for row in rows)
    assert len(drawn) == len(rows) == 30
    for column, height, row in zip(drawn, heights, rows, strict=True):
        assert column.locator("title").text_content() == f"{row[0]}: {row[3]:,.2f} USD"
        assert round(height / max(heights), 2) == round(float(row[3] / best), 2)


def test_page_can_be_read_with_the_keyboard(read: Page) -> None:
    seen = []
    for _ in range(60):
        read.keyboard.press("Tab")
        style = "getComputedStyle(document.activeElement).outlineStyle"
        name = read.evaluate("document.activeElement.textContent.trim().split('\\n')[0]")
        if name in seen and name == "Skip to the figures":
            break
        if read.evaluate("document.activeElement === document.body"):
            break
        assert read.evaluate(style) != "none", name
        seen.append(name)
    assert seen[0] == "Skip to the figures"
    summaries = read.locator("summary").all_inner_texts()
    assert [name for name in seen if name.startswith("Table: ")] == summaries
    read.evaluate("document.activeElement.blur()")
    read.reload()
    read.keyboard.press("Tab")
    skip = read.locator(".skip").bounding_box()
    assert skip and skip["x"] >= 0
    read.keyboard.press("Enter")
    assert read.evaluate("document.activeElement.id") == "main"
    while not read.evaluate("document.activeElement.matches('summary')"):
        read.keyboard.press("Tab")
    table = read.locator("details table").first
    assert not table.is_visible()
    read.keyboard.press("Enter")
    assert table.is_visible()


def test_closed_tables_are_printed(read: Page) -> None:
    read.emulate_media(media="print")
    for table in read.locator("table").all():
        box = table.bounding_box()
        assert box and box["height"] > 20


@pytest.mark.parametrize("width", [320, 360, 1280])
def test_nothing_is_wider_than_the_screen(read: Page, width: int) -> None:
    read.set_viewport_size({"width": width, "height": 800})
    read.evaluate("document.querySelectorAll('details').forEach(found => found.open = true)")
    assert read.evaluate("document.documentElement.scrollWidth") == width


def sales_named(names: Iterable[str | None], revenue: Decimal) -> list[Sales]:
    sold = Sold(3, 2_000_000_000, revenue, -revenue)
    return [Sales(name, {"now": sold, "before": Sold(1, 1, Decimal("0.01"))}) for name in names]


def test_any_name_and_any_amount_can_be_shown(
    warehouses: dict[str, Warehouse], opened: Callable[[str], Page]
) -> None:
    figures = figures_of(warehouses["duckdb"])
    huge = Decimal("1234567890123.45")
    hostile = replace(
        figures,
        by_day={name: [Sold(1, 10**9, huge, -huge)] * 30 for name in figures.by_day},
        by_line=sales_named(HOSTILE, huge),
        by_region=sales_named([None], huge),
        by_country=sales_named([f"Country {n}" for n in range(200)], huge),
        products=[
            (name, name, 1, huge, Decimal(), -huge, None, None)
            for name in (*HOSTILE, None, "", " ")
        ],
        debtors=[(name, name, huge, huge, None, True, LAST_DAY) for name in HOSTILE],
        segments=[(name, 10**9, 10**9, huge, 1, 1, 1) for name in HOSTILE],
        matches=[(name, 1, huge, -huge, huge) for name in HOSTILE],
        differences=[(name, name, 1, name, None, -huge) for name in HOSTILE],
        payments=[(None, 1, huge, huge, -huge, huge), (LAST_DAY, 1, -huge, huge, -huge, huge)],
    )
    page = opened(render(hostile, datetime(2026, 11, 20, tzinfo=UTC)))
    tables = tables_on(page)
    assert [row[0] for row in tables["Sales by product line"].rows] == list(HOSTILE)
    assert [row[0] for row in tables["Sales by region"].rows] == ["(no name)"]
    assert tables["Sales by country"].rows[-1][:3] == [
        "191 other countries",
        *(191 * 2_000_000_000, 191 * huge),
    ]
    products = tables["The 10 products with the most revenue"].rows
    assert [row[0] for row in products] == [*HOSTILE, *["(no name)"] * 3]
    assert products[0][6] == -huge
    assert [row[0] for row in tables["Paid and ordered by month, the last 24 months"].rows] == [
        "Without a date",
        "Nov 2026",
    ]
    assert tables["Totals and their changes"].rows[0][1] == 30 * huge
    for width in (360, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") == width
    assert_accessible(page)
