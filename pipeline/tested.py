"""What earlier builds have tested already, so that a build of a large shop need not repeat it."""

from __future__ import annotations

import os

from pipeline.dbt_runner import Dbt
from pipeline.project import raw_schema
from pipeline.warehouse import Warehouse

# From this many rows of a shop on, tests of all rows take longer than everything else.
LARGE = 1_000_000


class TestsValueError(RuntimeError):
    """TESTS has no meaning; the text says which values it has."""

    __test__ = False  # no class of tests, though pytest would take it for one


def wanted_tests() -> str:
    """The value of TESTS: all, new, or nothing. Raises TestsValueError."""
    wanted = os.environ.get("TESTS", "")
    if wanted not in ("", "all", "new"):
        raise TestsValueError(f"TESTS is all or new, not {wanted}.")
    return wanted


def tested_before(dbt: Dbt, warehouse: Warehouse, wanted: str) -> tuple[dict[str, str], bool]:
    """The variables that macros/testing reads, and whether this very code has passed its tests.

    It has after a wholly green build of the same code. TESTED_THROUGH is the load before that
    build. It is empty where all rows are to be tested: without such a build, or where `wanted` is
    all. An empty `wanted` means all for a shop with less than LARGE rows, else new.
    """
    schema, code = raw_schema(), dbt.code()
    found = warehouse.ask(
        f"select cast(max(runs.started_at) as varchar(26)), sum(tables.rows_live)"
        f" from {schema}._load_runs as runs"
        f" inner join {schema}._load_tables as tables on runs.batch_id = tables.batch_id"
        f" where runs.batch_id = (select max(batch_id) from {schema}._load_runs"
        " where status = 'succeeded')"
    )
    marks = f"{dbt.schema('intermediate')}.tested_marts where code = '{code}'"
    tested = warehouse.ask(f"select loaded_through from {marks}")
    if not found or found[0][0] is None:
        # Without the right to read the audit, everything is tested and no mark is left.
        return {"TESTED_CODE": "", "LOADED_THROUGH": "", "TESTED_THROUGH": ""}, False
    ((loaded, rows),) = found
    is_new = (wanted or ("new" if rows >= LARGE else "all")) == "new"
    through = str(tested[0][0]) if tested and is_new else ""
    known = {"TESTED_CODE": code, "LOADED_THROUGH": str(loaded), "TESTED_THROUGH": through}
    return known, bool(tested)
