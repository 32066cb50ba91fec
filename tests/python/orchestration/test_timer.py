"""Without an orchestrator: systemd's timer and service, and the line for cron."""

from __future__ import annotations

import fcntl
import re
import shutil
import sqlite3
import subprocess
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


def test_cron_says_nothing_when_green_and_all_when_not(project: Path) -> None:
    assert cron(project) == Run(0, "", "")
    with (project / "warehouse.duckdb.lock").open("w") as lock:
        lock.write("make build (since noon)")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
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
