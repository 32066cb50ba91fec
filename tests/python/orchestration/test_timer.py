"""Without an orchestrator: a timer of systemd, and cron. And the lock of all of them."""

from __future__ import annotations

import contextlib
import fcntl
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.clone import REPO
from support.commands import Run, run, tiny_build

UNITS = REPO / "orchestration" / "systemd"
CRON = "orchestration/systemd/cron.sh"


def verify(folder: Path) -> subprocess.CompletedProcess[str]:
    units = [folder / f"classicmodels.{kind}" for kind in ("service", "timer")]
    return subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_the_units_are_valid(tmp_path: Path) -> None:
    """With a program that is there in place of the one that a person installs."""
    for path in UNITS.glob("classicmodels.*"):
        text = re.sub(r"/srv/classicmodels/\S+python", "/usr/bin/env", path.read_text("utf-8"))
        (tmp_path / path.name).write_text(text, "utf-8")
    done = verify(tmp_path)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    timer = tmp_path / "classicmodels.timer"
    timer.write_text(timer.read_text("utf-8").replace("*:0/15", "quarterly hour"), "utf-8")
    assert verify(tmp_path).stderr != ""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return shutil.copytree(tiny_build(), tmp_path / "project", symlinks=True)


def cron(project: Path, **variables: str) -> Run:
    return run(project.parent, "sh", str(project / CRON), **variables)


@contextlib.contextmanager
def locked(project: Path) -> Iterator[None]:
    """While another run writes."""
    with (project / "warehouse.duckdb.lock").open("w") as lock:
        lock.write("make build (since noon)")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.mark.long
def test_cron_says_nothing_when_green_and_all_when_not(project: Path) -> None:
    assert cron(project) == Run(0, "", "")
    with locked(project):
        busy = cron(project, WAIT="2")
    assert busy.status == 75
    assert "make build (since noon) is writing into warehouse.duckdb" in busy.out
    shop = sqlite3.connect(project / "shop.sqlite")
    with shop:
        shop.execute("update orders set status = 'Lost' where rowid = 1")
    shop.close()
    red = cron(project)
    assert red.status == 1
    assert "order_statuses_are_known" in red.out


@pytest.mark.long
def test_dbt_by_itself_writes_where_nobody_else_does(project: Path) -> None:
    orchestrators = {"SHOP_PYTHON": sys.executable, "SHOP_PROJECT": str(project)}
    dagster, airflow = (f"orchestration/{name}/dbt" for name in ("dagster", "airflow"))
    with locked(project):
        busy = run(project, dagster, "build", "-s", "dim_offices", **orchestrators)
        listed = run(project, dagster, "--quiet", "ls", "-s", "dim_offices", **orchestrators)
    assert (busy.status, busy.out) == (75, "")
    assert "dbt: make build (since noon) is writing into warehouse.duckdb" in busy.err
    assert listed.status == 0
    built = run(project, airflow, "build", "-s", "dim_offices", **orchestrators)
    assert built.status == 0, built.out
    assert not (project / "warehouse.duckdb.lock").exists()
    # What Cosmos tries where the one build failed.
    single = run(project, airflow, "run", "-s", "dim_offices", **orchestrators)
    assert single.status == 1
    assert "trigger the whole DAG again" in single.err
