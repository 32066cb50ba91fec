"""Write the marts as one page that anybody can open: what `make report` runs.

    python scripts/report.py

The page is target/site/report.html, in the folder of its warehouse if that is not the default one:
tables and charts in one file, without network and script. TARGET and the other variables of `make
build` name the warehouse. Exit status: 0 written, 1 not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from loader import LoadError
from pages.files import site
from pages.report.figures import read_figures
from pages.report.page import write_page
from pages.start import last_warnings
from pipeline.project import PROJECT, shown
from pipeline.shop import last_source
from pipeline.target import chosen_warehouse
from pipeline.warehouse import ProfileError, Warehouse, WarehouseError


def report_of(warehouse: Warehouse) -> Path:
    """The file of a warehouse's report."""
    return site(warehouse.made) / "report.html"


def write_report(
    warehouse: Warehouse, page: Path | None = None, warnings: Sequence[str] = ()
) -> str:
    """Write the page and return its path and size. Raises WarehouseError, OSError.

    `warnings` are those of the last build, which a reader must know.
    """
    page = page or report_of(warehouse)
    with warehouse.reading() as ask:
        figures = read_figures(ask, warehouse.marts)
    shop = last_source(warehouse) or "unknown"  # not everybody may read the loader's records
    origin = {"Shop": shop, "Warehouse": warehouse.label}
    write_page(page, figures, datetime.now(UTC), origin, warnings)
    return f"{shown(page)}, {page.stat().st_size / 1000:,.0f} kB"


def main() -> int:
    """Write the report of the warehouse that the profile means."""
    os.chdir(PROJECT)
    try:
        warehouse = chosen_warehouse()
        print(write_report(warehouse, warnings=last_warnings(warehouse.made)))
    except WarehouseError as error:
        print(f"make report: {error} Has `make build` been run?", file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"make report: {shown(report_of(warehouse))} cannot be written: {error}.",
            file=sys.stderr,
        )
        return 1
    except (ProfileError, LoadError) as error:
        print(f"make report: {error}", file=sys.stderr)
        return 1
    return 0
