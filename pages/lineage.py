"""The lineage of every column, which dbt-colibri reads from the SQL that dbt compiled."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

# dbt-colibri and its page report no use and ask for no newer version.
SILENT = {"DISABLE_COLIBRI_TELEMETRY": "1", "DBT_COLIBRI_NO_VERSION_CHECK": "1"}


class LineageError(RuntimeError):
    """The lineage could not be drawn; the text says why."""


def write_lineage(target: Path, page: Path) -> str:
    """Draw the page of the lineage from the artifacts in a folder.

    Returns which columns could not be traced; empty when all could. Raises LineageError.
    """
    with tempfile.TemporaryDirectory(dir=target) as folder:
        command = [sys.executable, "-m", "dbt_colibri.cli.cli", "generate", "--disable-telemetry"]
        command += ["--manifest", str(target / "manifest.json")]
        command += ["--catalog", str(target / "catalog.json"), "--output-dir", folder]
        done = subprocess.run(
            command,
            env=os.environ | SILENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        said = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        made = Path(folder) / "index.html"
        if done.returncode or not made.is_file():
            raise LineageError(f"dbt-colibri failed: {said[-1] if said else 'without a message'}")
        page.parent.mkdir(exist_ok=True)
        made.replace(page)
    lost = [line.removeprefix("[ERROR] ") for line in said if line.startswith("[ERROR]")]
    return f"{len(lost)} columns could not be traced, the first is {lost[0]}" if lost else ""
