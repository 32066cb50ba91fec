"""`make build` on the real sample, which stays outside the repository (see CLASSICMODELS_SQL)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from support.clone import copy_project
from support.commands import Run, run
from support.one_run import own
from support.project import (
    DuckDBWarehouse,
    PostgresWarehouse,
    Warehouse,
    assert_same_rows,
    marts_of,
)
from tools.servers import MariaDBServer, PostgresServer

LINES = 2996
AMOUNT = Decimal("9604190.61")
# What says when a load came, and what is counted from that.
LOAD_TIMES = {
    *("_loaded_at", "first_seen_at", "shipped_seen_at", "on_hold_at", "disputed_at"),
    *("resolved_at", "cancelled_at", "days_to_resolve", "days_to_cancel"),
    *("arrival_hour_key", "hour_of_day", "arrived_date", "arrived_hour_at"),
}


class Built:
    """The real shop after `make build` into both warehouses."""

    def __init__(self, folder: Path, source: str, postgres: PostgresServer) -> None:
        self.project = copy_project(folder)
        self.duckdb = DuckDBWarehouse(folder / "warehouse.duckdb")
        self.postgres = PostgresWarehouse(postgres, own("real_input"))
        self.runs: dict[str, Run] = {}
        for warehouse in self.warehouses:
            variables = {"SOURCE": source, "TARGET": warehouse.target, **warehouse.variables}
            variables["AS_OF_DATE"] = "2005-05-31"  # the shop's last day
            self.runs[warehouse.target] = run(folder, "make", "build", **variables)

    @property
    def warehouses(self) -> tuple[Warehouse, Warehouse]:
        return self.duckdb, self.postgres


@pytest.fixture(scope="module")
def built(
    classicmodels_sql: Path,
    mariadb: MariaDBServer,
    postgres: PostgresServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Built:
    name = own("classicmodels")
    source = mariadb.create_database(name)
    mariadb.load_file(classicmodels_sql, name)
    return Built(tmp_path_factory.mktemp("real"), source, postgres)


@pytest.mark.parametrize("target", ["duckdb", "postgres"])
def test_build_is_green(target: str, built: Built) -> None:
    done = built.runs[target]
    assert done.status == 0, done.out + done.err
    assert "WARNING" not in done.out
    assert done.steps["freshness"] == "8 of 8 sources are fresh"
    assert done.rows("fact_orders") == LINES


def test_no_line_and_no_cent_is_lost(built: Built) -> None:
    for warehouse in built.warehouses:
        found = warehouse.query("select count(*), sum(order_amount) from marts.fact_orders")
        assert found == [(LINES, AMOUNT)], warehouse.target


def test_marts_are_the_same_in_both_warehouses(built: Built) -> None:
    found = marts_of(built.project / "target" / "manifest.json")
    # Each warehouse had a load of its own, some seconds apart.
    marts = [
        replace(
            mart,
            columns={n: kind for n, kind in mart.columns.items() if n not in LOAD_TIMES},
            key=tuple(n for n in mart.key if n not in LOAD_TIMES),
        )
        for mart in found
    ]
    assert_same_rows(marts, *built.warehouses)


def test_location_is_joined_by_the_whole_address(built: Built) -> None:
    """The real postal codes are those of several cities, which doubles lines in other stars."""
    join = (
        "select count(*) from marts.fact_orders as f"
        " left join marts.dim_customers_current as c on f.customer_key = c.customer_key"
        " left join marts.dim_locations as l on "
    )
    for warehouse in built.warehouses:
        assert warehouse.query(join + "f.location_key = l.location_key") == [(LINES,)]
        assert warehouse.query(join + "c.postal_code = l.postal_code") == [(3688,)]
