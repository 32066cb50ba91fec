"""What `make build` says to machines: exit codes, lines of JSON, and one line when it is quiet."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from loader import DuckDBDestination
from support.clone import REPO
from support.commands import environment, run, script, tiny_build

COMMANDS = ("build", "load", "watch", "undo-load", "runs")
SHOP = ("--source", "sqlite:///shop.sqlite")
# A build that a person ends while it loads.
INTERRUPTED = """
import os, sys
sys.path[0] = os.getcwd()
import pipeline.build
def load_shop(*_): raise KeyboardInterrupt
pipeline.build.load_shop = load_shop
sys.exit(pipeline.build.main([]))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny project that was built."""
    return Path(shutil.copytree(tiny_build(), tmp_path_factory.mktemp("output") / "project"))


def documented() -> set[tuple[int, str]]:
    """The table of docs/operations.md: each code with each command that can end with it."""
    text = (REPO / "docs" / "operations.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| .* \| (.*) \|$", text, re.MULTILINE)
    assert len(rows) == 6
    return {
        (int(code), command)
        for code, named in rows
        for command in (COMMANDS if named == "all" else re.findall(r"`([\w-]+)`", named))
    }


def locked(project: Path, name: str, *arguments: str, **variables: str) -> int:
    destination = DuckDBDestination("raw_classicmodels", project / "warehouse.duckdb")
    with ExitStack() as stack:
        stack.enter_context(destination.alone("another", print))
        return script(project, name, *arguments, **variables).status


def interrupted(project: Path) -> int:
    return subprocess.run(
        [sys.executable, "-c", INTERRUPTED], cwd=project, env=environment(), capture_output=True
    ).returncode


def inexact(project: Path) -> int:
    with sqlite3.connect(project / "odd.sqlite") as shop:
        shop.execute("create table t (id integer primary key, total decimal(10, 2))")
        shop.execute("insert into t values (1, 'no money')")
    odd = ("--source", "sqlite:///odd.sqlite", "--duckdb-path", "odd.duckdb")
    return script(project, "load", *odd).status


TRIALS: dict[tuple[int, str], Callable[[Path], int]] = {
    (0, "build"): lambda project: script(project, "build", "--prepare").status,
    (0, "load"): lambda project: script(project, "load", *SHOP).status,
    (0, "watch"): lambda project: script(project, "watch", "unwatch", *SHOP).status,
    (0, "undo-load"): lambda project: script(project, "undo_load").status,
    (0, "runs"): lambda project: script(project, "runs").status,
    (1, "build"): lambda project: script(project, "build", TARGET="nowhere").status,
    (1, "load"): lambda project: script(project, "load", "--source", "sqlite:///no.db").status,
    (1, "watch"): lambda project: script(project, "watch", "status").status,
    (1, "undo-load"): lambda project: script(project, "undo_load", "no load").status,
    (1, "runs"): lambda project: script(project, "runs", DUCKDB_PATH="none.duckdb").status,
    (2, "build"): lambda project: script(project, "build", LOG_FORMAT="xml").status,
    (2, "load"): lambda project: script(project, "load", *SHOP, "--select", "no,").status,
    (2, "watch"): lambda project: script(project, "watch", "--target", "duckdb").status,
    (2, "undo-load"): lambda project: script(project, "undo_load", "--no-option").status,
    (2, "runs"): lambda project: script(project, "runs", "--id", "no run").status,
    (3, "load"): inexact,
    (75, "build"): lambda project: locked(project, "build"),
    (75, "load"): lambda project: locked(project, "load", *SHOP),
    (75, "watch"): lambda project: locked(project, "watch", "unwatch", *SHOP),
    (75, "undo-load"): lambda project: locked(project, "undo_load", "a load", "--apply", "why"),
    (130, "build"): interrupted,
}


def test_each_documented_code_is_tried() -> None:
    assert documented() == TRIALS.keys()


@pytest.mark.long
@pytest.mark.parametrize(("code", "command"), TRIALS)
def test_exit_codes(code: int, command: str, project: Path) -> None:
    assert TRIALS[code, command](project) == code


def test_quiet_is_one_line_when_green(project: Path) -> None:
    quiet = run(project, "make", "build", "QUIET=1", "BUILD=all")
    assert quiet.status == 0 and quiet.err == ""
    assert re.fullmatch(
        r"Green after \d+\.\d s: \d+ rows of the shop changed, \d+ tests passed, 1 WARNINGS,"
        r" which make build without QUIET shows \(make run ID=\w+\)\n",
        quiet.out,
    ), quiet.out


def test_quiet_says_all_of_a_build_that_fails(project: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(project, tmp_path / "copy"))
    with sqlite3.connect(copy / "shop.sqlite") as shop:
        shop.execute("update orders set comments = 'It fails.'")
    red = script(copy, "build", "--quiet", BUILD="all")
    assert red.status == 1 and "FAILED  test it_fails" in red.out and "dbt build" in red.out
    again = script(copy, "build", "--quiet", SOURCE="sqlite:///no.sqlite", ALLOW_OTHER_SOURCE="1")
    assert again.status == 1 and "no.sqlite" in again.err and "start" in again.out


def test_json_for_machines(project: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(project, tmp_path / "copy"))
    with sqlite3.connect(copy / "shop.sqlite") as shop:
        shop.execute("update orders set comments = 'It fails.'")
    red = script(copy, "build", "--log-format", "json", BUILD="all")
    lines = [json.loads(line) for line in red.out.splitlines()]
    assert red.status == 1 and red.err == "", red.err
    assert all({"at", "level"} <= line.keys() for line in lines)
    steps = {line["step"]: line for line in lines if "step" in line}
    assert {"load", "dbt build", "freshness", "publish"} <= steps.keys()
    assert steps["load"]["seconds"] >= 0 and "rows in 8 tables" in steps["load"]["notes"][0]
    errors = [line["message"] for line in lines[:-1] if line["level"] == "error"]
    assert errors[0].startswith("FAILED  test it_fails") and errors[1].startswith("FAILED after ")
    last = lines[-1]
    assert (last["exit_code"], last["outcome"], last["level"]) == (1, "failed", "error")
    shown = script(copy, "runs", "--id", last["run_id"], "--json")
    assert json.loads(shown.out)["error"] == "failed: it_fails"
    away = script(copy, "build", LOG_FORMAT="json", TARGET="nowhere")
    (said,) = map(json.loads, away.err.splitlines())
    assert said["level"] == "error" and said["message"].startswith("TARGET=nowhere")
    assert json.loads(away.out.splitlines()[-1])["exit_code"] == 1
