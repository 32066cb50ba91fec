"""The marts say what the shop says, in every warehouse, from every kind of source database."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from csv import DictReader
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from sample_shop.shop import create_shop, play_events
from support.built import DAY, EVENTS, LOADS, BuiltWarehouses, load_at, shop
from support.clone import REPO
from support.one_run import own
from support.project import (
    DuckDBWarehouse,
    Mart,
    Project,
    Warehouse,
    assert_same_rows,
    digests,
    our_name,
)

COLUMNS = (
    "select column_name, data_type, character_maximum_length, numeric_precision, numeric_scale"
    " from information_schema.columns where table_name = '{}' order by ordinal_position"
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"), as_of=DAY)


def build(project: Project, warehouse: Warehouse) -> None:
    """Build everything; the tests have a place of their own."""
    outcome = project.dbt(warehouse, "build", "--exclude-resource-type", "test", "unit_test")
    assert outcome.green, outcome


@dataclass(frozen=True)
class Pair:
    """Both warehouses after the same loads, and the marts that should be alike in them."""

    shop: Path
    duckdb: Warehouse
    postgres: Warehouse
    marts: list[Mart]


@pytest.fixture(scope="module", params=[pytest.param("new", marks=pytest.mark.long), "changed"])
def pair(
    request: pytest.FixtureRequest,
    project: Project,
    built: BuiltWarehouses,
    tmp_path_factory: pytest.TempPathFactory,
) -> Pair:
    """After the first load, and after a second one that found changes."""
    folder = tmp_path_factory.mktemp("pair")
    duckdb, postgres = (
        built.copy(target, request.param, "parity", folder).warehouse
        for target in ("duckdb", "postgres")
    )
    return Pair(shop(request.param), duckdb, postgres, project.marts(duckdb))


def test_rows_are_the_same_in_both_warehouses(pair: Pair) -> None:
    assert_same_rows(pair.marts, pair.duckdb, pair.postgres)


def test_types_are_those_of_the_contract_in_both_warehouses(pair: Pair) -> None:
    for warehouse in (pair.duckdb, pair.postgres):
        for mart in pair.marts:
            declared = ", ".join(f"{name} {kind}" for name, kind in mart.columns.items())
            promised = warehouse.query(
                f"create temporary table declared ({declared}); {COLUMNS.format('declared')}"
            )
            assert warehouse.query(COLUMNS.format(mart.name)) == promised, mart.name


@pytest.mark.long
@pytest.mark.parametrize("kind", ["mariadb", "postgres"])
def test_marts_do_not_depend_on_the_kind_of_source(
    kind: str,
    project: Project,
    built: BuiltWarehouses,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    """A shop in another kind of database comes to the same marts as one in a file of SQLite."""
    url = request.getfixturevalue(kind).create_database(own("parity_source"))
    warehouse = DuckDBWarehouse(tmp_path / "warehouse.duckdb")
    create_shop(url, as_of=DAY)
    load_at(warehouse, url, LOADS[0])
    build(project, warehouse)
    play_events(url, EVENTS, as_of=DAY)
    load_at(warehouse, url, LOADS[1])
    build(project, warehouse)
    (tmp_path / "sqlite").mkdir()
    of_sqlite = built.copy("duckdb", "changed", "", tmp_path / "sqlite").warehouse
    marts = project.marts(warehouse)
    assert digests(marts, warehouse) == digests(marts, of_sqlite)


# -- against the shop itself, without SQL of the project ------------------------------------------

Row = dict[str, object]

BLANKS = " \t\n\x0b\x0c\r\u00a0\u202f\u200b\u3000\ufeff"
# What the wide table has of the representative and the office, and where there is neither.
REP = ("employee_number", "first_name", "last_name", "job_title", "email")
OFFICE = ("city", "country", "territory")
NOBODY: Row = {"employee_number": -1}


def plain(value: object) -> object:
    """A value as it is compared, whichever type a database has for it."""
    if isinstance(value, str):
        return value.strip(BLANKS) or None
    if isinstance(value, int | float | Decimal):
        return Decimal(str(value)).normalize()
    return value.isoformat() if isinstance(value, date) else value


def read_shop(path: Path) -> dict[str, list[Row]]:
    """The rows of each table, by our names; and as `lines`, order lines with all that is theirs."""
    with closing(sqlite3.connect(path)) as shop:
        tables: dict[str, list[Row]] = {}
        for (table,) in shop.execute(
            "select name from sqlite_master where type = 'table'"
        ).fetchall():
            cursor = shop.execute(f"select * from {table}")
            names = [our_name(column[0]) for column in cursor.description]
            tables[table] = [dict(zip(names, map(plain, row), strict=True)) for row in cursor]

    def by(table: str, key: str) -> dict[object, Row]:
        return {row[key]: row for row in tables[table]}

    descriptions, orders = by("productlines", "product_line"), by("orders", "order_number")
    customers, employees = by("customers", "customer_number"), by("employees", "employee_number")
    offices = by("offices", "office_code")
    for product in tables["products"]:
        described = descriptions[product["product_line"]]["text_description"]
        product["product_line_description"] = described
    products = by("products", "product_code")
    tables["lines"] = []
    for detail in tables["orderdetails"]:
        order = orders[detail["order_number"]]
        customer = customers[order["customer_number"]]
        rep = employees.get(customer["sales_rep_employee_number"], NOBODY)
        office = offices.get(rep.get("office_code"), {})
        tables["lines"].append(
            customer
            | products[detail["product_code"]]
            | {f"sales_rep_{name}": rep.get(name, "Unknown") for name in REP}
            | {f"office_{name}": office.get(name, "Unknown") for name in OFFICE}
            | {"office_code": rep.get("office_code", "Unknown")}
            | order
            | detail
        )
    return tables


def in_one_spelling(row: Row) -> Row:
    """A row as the marts have it: standard names of countries, the shop's own beside them."""
    with (REPO / "seeds" / "countries.csv").open(encoding="utf-8") as lines:
        standard = {found["country_name"]: found["standard_name"] for found in DictReader(lines)}
    spelled = {f"{n}_as_spelled": row[n] for n in ("country", "product_line") if n in row}
    countries = {
        name: standard.get(str(row[name]), row[name])
        for name in ("country", "office_country")
        if name in row
    }
    return row | spelled | countries


@pytest.mark.parametrize(
    ("relation", "table", "at_least"),
    [
        ("staging.stg_classicmodels__customers", "customers", 13),
        ("staging.stg_classicmodels__employees", "employees", 8),
        ("staging.stg_classicmodels__offices", "offices", 9),
        ("staging.stg_classicmodels__order_details", "orderdetails", 5),
        ("staging.stg_classicmodels__orders", "orders", 7),
        ("staging.stg_classicmodels__payments", "payments", 4),
        ("staging.stg_classicmodels__product_lines", "productlines", 4),
        ("staging.stg_classicmodels__products", "products", 9),
        ("marts.dim_customers_current", "customers", 13),
        ("marts.dim_employees_current", "employees", 8),
        ("marts.dim_offices", "offices", 9),
        ("marts.dim_products_current", "products", 10),
        ("marts.fact_payments", "payments", 4),
        ("marts.fact_orders", "lines", 11),
        ("marts.fact_order_life", "orders", 6),
        ("marts.orders_obt", "lines", 35),
    ],
)
def test_columns_say_what_the_shop_says(
    relation: str, table: str, at_least: int, pair: Pair
) -> None:
    rows = read_shop(pair.shop)[table]
    if relation.startswith("marts."):
        rows = [in_one_spelling(row) for row in rows]
    described = pair.duckdb.query(f"select column_name from (describe {relation})")
    names = [name for (name,) in described]
    # The shop knows the prices of today, a fact those of its day.
    others = {"buy_price", "msrp"} if relation == "marts.fact_orders" else set()
    columns = {
        name: name.removesuffix("_now")
        for name in names
        if name.removesuffix("_now") in rows[0] and name not in others
    }
    assert len(columns) >= at_least, sorted(rows[0].keys() - set(columns.values()))
    known = f"where cast({names[0]} as varchar) <> '-1'"
    known += " and not is_deleted" * ("is_deleted" in names)
    found = pair.duckdb.query(f"select {', '.join(columns)} from {relation} {known}")
    left = Counter(tuple(map(plain, row)) for row in found)
    right = Counter(tuple(row[name] for name in columns.values()) for row in rows)
    assert list((left - right).items())[:2] == []
    assert list((right - left).items())[:2] == []
