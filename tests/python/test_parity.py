"""The same shop gives the same marts: in every warehouse, from every kind of source database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from project import (
    DuckDBWarehouse,
    Mart,
    PostgresWarehouse,
    Project,
    Warehouse,
    assert_same_rows,
    digests,
)
from sample_source import create_shop, play_events
from servers import MariaDBServer, PostgresServer

LAST_DAY = date(2026, 6, 30)

COLUMNS = (
    "select column_name, data_type, character_maximum_length, numeric_precision, numeric_scale"
    " from information_schema.columns where table_name = '{}' order by ordinal_position"
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


def build(project: Project, warehouse: Warehouse) -> None:
    """Build everything; the tests have a place of their own."""
    outcome = project.dbt(warehouse, "build", "--exclude-resource-type", "test", "unit_test")
    assert outcome.green, outcome


@dataclass(frozen=True)
class Pair:
    """Both warehouses after the same loads, and the marts that should be alike in them."""

    duckdb: Warehouse
    postgres: Warehouse
    marts: list[Mart]


@pytest.fixture(scope="module", params=[0, 30], ids=["new shop", "second load after events"])
def pair(
    request: pytest.FixtureRequest,
    project: Project,
    postgres: PostgresServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Pair:
    folder = tmp_path_factory.mktemp("pair")
    url = f"sqlite:///{folder / 'shop.sqlite'}"
    duckdb = DuckDBWarehouse(folder / "warehouse.duckdb")
    both = (duckdb, PostgresWarehouse(postgres, "parity"))
    create_shop(url, as_of=LAST_DAY)
    for warehouse in both:
        warehouse.load(url)
        build(project, warehouse)
    if request.param:
        play_events(url, request.param, as_of=LAST_DAY)
        for warehouse in both:
            warehouse.load(url)
            build(project, warehouse)
    return Pair(*both, project.marts(duckdb))


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


def test_marts_do_not_depend_on_the_kind_of_source(
    project: Project, mariadb: MariaDBServer, postgres: PostgresServer, tmp_path: Path
) -> None:
    sources = {
        "SQLite": f"sqlite:///{tmp_path / 'shop.sqlite'}",
        "MariaDB": mariadb.create_database("parity_source"),
        "PostgreSQL": postgres.create_database("parity_source"),
    }
    found = {}
    for name, url in sources.items():
        folder = tmp_path / name
        folder.mkdir()
        warehouse = DuckDBWarehouse(folder / "warehouse.duckdb")
        create_shop(url, as_of=LAST_DAY)
        warehouse.load(url)
        play_events(url, 30, as_of=LAST_DAY)
        warehouse.load(url)
        build(project, warehouse)
        found[name] = digests(project.marts(warehouse), warehouse)
    assert found["MariaDB"] == found["SQLite"]
    assert found["PostgreSQL"] == found["SQLite"]
