"""Say which loads changed which raw tables, for an orchestrator that did not start them.

    python -m pipeline.loads 20261126T015446123456Z_f063    after this load; without one: the last

Prints a line of JSON for each table of each load; a watch's batches are loads too.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from loader.errors import LoadError
from pipeline.project import PROJECT, raw_schema
from pipeline.target import chosen_warehouse
from pipeline.warehouse import DuckDB, ProfileError, Warehouse, WarehouseError

AFTER = "runs.batch_id > '{after}'"
LAST = "runs.batch_id = (select max(batch_id) from {schema}._load_runs where status = 'succeeded')"
QUERY = """
    select runs.batch_id, tables.table_name, tables.rows_live,
        tables.rows_inserted, tables.rows_updated, tables.rows_deleted
    from {schema}._load_runs as runs
    inner join {schema}._load_tables as tables on tables.batch_id = runs.batch_id
    where runs.status = 'succeeded' and {which}
    order by runs.batch_id, tables.table_name
"""
COLUMNS = ("batch_id", "table", "rows", "inserted", "updated", "deleted")


def places(warehouse: Warehouse) -> Iterator[Warehouse]:
    """The warehouse, and the copy that a watch makes for readers of a DuckDB file."""
    yield warehouse
    if isinstance(warehouse, DuckDB):
        file = Path(warehouse.place).absolute()
        copy = file.with_name(f"{file.name}.readers") / file.name
        if copy.exists():
            yield warehouse.copied_to(copy)


def loads(after: str) -> list[dict[str, Any]]:
    """Each table of each load after that one, or of the last. Raises WarehouseError."""
    schema = raw_schema()
    which = AFTER.format(after=after.replace("'", "")) if after else LAST.format(schema=schema)
    problem: WarehouseError | None = None
    for warehouse in places(chosen_warehouse()):
        try:
            with warehouse.reading() as ask:
                rows = ask(QUERY.format(schema=schema, which=which))
            return [dict(zip(COLUMNS, row, strict=True)) for row in rows]
        except WarehouseError as error:
            problem = problem or error
    assert problem
    raise problem


def main(arguments: Sequence[str] | None = None) -> int:
    """Print them; exit status 1, with a sentence, when the warehouse cannot be asked."""
    arguments = sys.argv[1:] if arguments is None else arguments
    os.chdir(PROJECT)
    try:
        found = loads(arguments[0] if arguments else "")
    except (LoadError, ProfileError, WarehouseError) as error:
        print(f"loads: {error}", file=sys.stderr)
        return 1
    for line in found:
        print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
