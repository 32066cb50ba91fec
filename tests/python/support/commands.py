"""The project's commands, run from the outside as a newcomer runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import duckdb

ENVIRONMENT = Path(sys.executable).parents[1]
DEAD_PORT = 9  # "discard": nothing listens there


@dataclass(frozen=True)
class Run:
    """What one command did: its exit status and what it printed."""

    status: int
    out: str
    err: str

    @property
    def steps(self) -> dict[str, str]:
        """The lines of the build's steps: name -> what came of it."""
        found = re.findall(r"^  ([a-z ]+?) +[0-9.]+ s ?(.*)$", self.out, re.MULTILINE)
        return {name: said.strip() for name, said in found}

    @property
    def figures(self) -> str:
        """The summary's table of rows and revenue."""
        return self.out.partition("\n\n")[2].partition("\n\nWarehouse")[0]

    def rows(self, mart: str) -> int:
        found = re.search(rf"^  {mart} +([0-9,]+)\b", self.figures, re.MULTILINE)
        assert found, f"{mart} is not in:\n{self.figures}"
        return int(found[1].replace(",", ""))


def environment() -> dict[str, str]:
    """That of a shell in which the virtual environment is activated, with the hub out of reach."""
    return {
        **os.environ,
        "VENV": str(ENVIRONMENT),
        "PATH": f"{ENVIRONMENT / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "DBT_PACKAGE_HUB_URL": f"http://127.0.0.1:{DEAD_PORT}/",
    }


def run(project: Path, *command: str, **variables: str) -> Run:
    done = subprocess.run(
        command, cwd=project, env=environment() | variables, capture_output=True, text=True
    )
    return Run(done.returncode, done.stdout, done.stderr)


def assert_one_sentence(result: Run, *words: str) -> None:
    """The command failed with one line for a person, which says all these words."""
    assert result.status != 0
    assert "Traceback" not in result.out + result.err
    said = [line for line in result.err.splitlines() if not line.startswith("make: ***")]
    assert len(said) == 1, result.err
    for word in words:
        assert word in said[0]


def fault_in_an_old_row(project: Path) -> None:
    """Two lines of one number, written past dbt, so that no load has touched the rows."""
    with duckdb.connect(str(project / "warehouse.duckdb")) as warehouse:
        warehouse.execute(
            "update marts.fact_orders set order_line_number = 1 where order_number ="
            " (select min(order_number) from marts.fact_orders where order_line_number = 2)"
        )
