"""The real sample, which stays outside the repository (see CLASSICMODELS_SQL), loaded and built."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from support.clone import copy_project
from support.commands import Run, run
from support.one_run import own
from support.project import (
    DuckDBWarehouse,
    PostgresWarehouse,
    Project,
    Warehouse,
    assert_same_rows,
    marts_of,
)
from tools.servers import MariaDBServer, PostgresServer

LINES = 2996
AMOUNT = Decimal("9604190.61")
LAST_DAY = date(2005, 5, 31)  # of the shop
# Two cancelled orders have a shipping date.
WARNED = "cancelled_orders_were_not_shipped"
# What says when a load came, and what is counted from that.
LOAD_TIMES = {
    *("_loaded_at", "first_seen_at", "shipped_seen_at", "on_hold_at", "disputed_at"),
    *("resolved_at", "cancelled_at", "days_to_resolve", "days_to_cancel"),
    *("arrival_hour_key", "hour_of_day", "arrived_date", "arrived_hour_at"),
}


@dataclass(frozen=True)
class Built:
    """The real shop after `make build` into a warehouse."""

    warehouse: Warehouse
    run: Run


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("real"))


@pytest.fixture(scope="module")
def source(classicmodels_sql: Path, mariadb: MariaDBServer) -> str:
    name = own("classicmodels")
    url = mariadb.create_database(name)
    mariadb.load_file(classicmodels_sql, name)
    return url


def build(project: Path, source: str, warehouse: Warehouse) -> Built:
    variables = {"SOURCE": source, "TARGET": warehouse.target, **warehouse.variables}
    variables["AS_OF_DATE"] = str(LAST_DAY)
    return Built(warehouse, run(project, "make", "build", **variables))


@pytest.fixture(scope="module")
def on_duckdb(project: Path, source: str) -> Built:
    return build(project, source, DuckDBWarehouse(project / "warehouse.duckdb"))


@pytest.fixture(scope="module")
def on_postgres(project: Path, source: str, postgres: PostgresServer) -> Built:
    return build(project, source, PostgresWarehouse(postgres, own("real_input")))


@pytest.fixture(scope="module")
def in_process(source: str, tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """Loaded, built and tested in this process; unit tests do not look at the shop."""
    folder = tmp_path_factory.mktemp("in_process")
    warehouse = DuckDBWarehouse(folder / "warehouse.duckdb")
    warehouse.load(source)
    project = Project(folder / "project", as_of=LAST_DAY)
    outcome = project.dbt(warehouse, "build", "--exclude-resource-type", "unit_test")
    assert outcome.green, outcome
    assert outcome.warned == {WARNED}
    assert outcome.messages[WARNED].startswith("Got 2 results")
    return warehouse


LONG = [pytest.param(name, marks=pytest.mark.long) for name in ("on_duckdb", "on_postgres")]


@pytest.fixture(params=["in_process", *LONG])
def warehouse(request: pytest.FixtureRequest) -> Warehouse:
    found: Built | Warehouse = request.getfixturevalue(request.param)
    return found.warehouse if isinstance(found, Built) else found


@pytest.mark.parametrize("name", LONG)
def test_build_is_green(name: str, request: pytest.FixtureRequest) -> None:
    done: Run = request.getfixturevalue(name).run
    assert done.status == 0, done.out + done.err
    said = re.findall("WARNING  test (.*?) [(]", done.out)
    assert said == [f"{WARNED}: 2 rows, 68,407.14 USD"]
    assert done.steps["freshness"] == "8 of 8 sources are fresh"
    assert done.rows("fact_orders") == LINES


def test_no_line_and_no_cent_is_lost(warehouse: Warehouse) -> None:
    found = warehouse.query("select count(*), sum(order_amount) from marts.fact_orders")
    assert found == [(LINES, AMOUNT)]


@pytest.mark.long
def test_marts_are_the_same_in_both_warehouses(
    project: Path, on_duckdb: Built, on_postgres: Built
) -> None:
    found = marts_of(project / "target" / "manifest.json")
    # Each warehouse had a load of its own, some seconds apart.
    marts = [
        replace(
            mart,
            columns={n: kind for n, kind in mart.columns.items() if n not in LOAD_TIMES},
            key=tuple(n for n in mart.key if n not in LOAD_TIMES),
        )
        for mart in found
    ]
    assert_same_rows(marts, on_duckdb.warehouse, on_postgres.warehouse)


def test_location_is_joined_by_the_whole_address(warehouse: Warehouse) -> None:
    """The real postal codes are those of several cities, which doubles lines in other stars."""
    join = (
        "select count(*) from marts.fact_orders as f"
        " left join marts.dim_customers_current as c on f.customer_key = c.customer_key"
        " left join marts.dim_locations as l on "
    )
    assert warehouse.query(join + "f.location_key = l.location_key") == [(LINES,)]
    assert warehouse.query(join + "c.postal_code = l.postal_code") == [(3688,)]
