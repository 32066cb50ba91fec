"""What `make undo-load` needs of a warehouse of the tests."""

from __future__ import annotations

import psycopg

from pipeline.warehouse import DuckDB, Postgres
from support.project import DuckDBWarehouse, PostgresWarehouse, Warehouse
from support.story import Story


def opened(warehouse: Warehouse) -> DuckDB | Postgres:
    if isinstance(warehouse, DuckDBWarehouse):
        return DuckDB("dev", "main", {"path": str(warehouse.path)})
    assert isinstance(warehouse, PostgresWarehouse)
    url = warehouse.server.url(warehouse.database)
    return Postgres("dev", "public", dict(psycopg.conninfo.conninfo_to_dict(url)))


def newest_load(story: Story) -> str:
    ((batch,),) = story.warehouse.query("select max(batch_id) from _load_runs")
    return str(batch)
