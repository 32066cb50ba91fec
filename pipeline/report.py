"""Write the marts as one page that anybody can open: what `make report` runs.

    python scripts/report.py

The page is target/site/report.html: tables and charts, in one file that needs no network and no
script. TARGET and the other variables of `make build` say from which warehouse. Exit status: 0
written, 1 not.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from loader import LoadError
from loader.config import find_config
from pages.files import replace_file
from pages.report.figures import read_figures
from pages.report.page import render
from pipeline.warehouse import ProfileError, Target, WarehouseError, ensure_profile, resolve_target

PROJECT = Path(__file__).resolve().parents[1]
REPORT = Path("target", "site", "report.html")  # in the project


def write_report(target: Target, project: Path = PROJECT) -> str:
    """Write the page anew and return its path and size. Raises WarehouseError, OSError."""
    with target.reading() as ask:
        figures = read_figures(ask, target.marts)
    page = render(figures, datetime.now(UTC))
    replace_file(project / REPORT, page)
    return f"{REPORT}, {len(page.encode()) / 1000:,.0f} kB"


def main() -> int:
    """Write the report of the warehouse that the profile means."""
    os.chdir(PROJECT)
    try:
        name = os.environ.get("TARGET") or find_config().target
        print(write_report(resolve_target(PROJECT, ensure_profile(PROJECT), name)))
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
