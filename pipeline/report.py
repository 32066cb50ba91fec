"""Write the marts as one page that anybody can open: what `make report` runs.

    python scripts/report.py

The page is target/site/report.html: tables and charts in one file, without network and script.
TARGET and the other variables of `make build` name the warehouse. Exit status: 0 written, 1 not.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from loader import LoadError
from pages.report.figures import read_figures
from pages.report.page import write_page
from pipeline.project import PROJECT
from pipeline.warehouse import ProfileError, Warehouse, WarehouseError, chosen_warehouse

REPORT = Path("target", "site", "report.html")  # in the project


def write_report(warehouse: Warehouse, project: Path = PROJECT) -> str:
    """Write the page and return its path and size. Raises WarehouseError, OSError."""
    with warehouse.reading() as ask:
        figures = read_figures(ask, warehouse.marts)
    page = project / REPORT
    write_page(page, figures, datetime.now(UTC))
    return f"{REPORT}, {page.stat().st_size / 1000:,.0f} kB"


def main() -> int:
    """Write the report of the warehouse that the profile means."""
    os.chdir(PROJECT)
    try:
        print(write_report(chosen_warehouse()))
    except WarehouseError as error:
        print(f"make report: {error} Has `make build` been run?", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"make report: {REPORT} cannot be written: {error}.", file=sys.stderr)
        return 1
    except (ProfileError, LoadError) as error:
        print(f"make report: {error}", file=sys.stderr)
        return 1
    return 0
