"""`make build` leaves a record of each run that readers find, and `make runs` shows them."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from loader import DuckDBDestination
from loader.history import History
from support.commands import assert_one_sentence, environment, run, script, tiny_build
from support.one_run import own
from tools.servers import PostgresServer

RUNS = "select command, outcome, error from raw_classicmodels._runs order by run_id"
# A build that is killed when it comes to a function: its module, its name.
DIES = """
import importlib, os, signal, sys
sys.path[0] = os.getcwd()
module, _, name = sys.argv.pop(1).rpartition(":")
place = importlib.import_module(module)
*path, last = name.split(".")
for part in path:
    place = getattr(place, part)
setattr(place, last, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
from pipeline.build import main
sys.exit(main([]))
"""
# Where a build is killed: what the record says of it then, if readers see its data already.
STEPS = {
    "lock": "loader.run_record:code_version",
    "load": "pipeline.build:load_shop",
    "build": "pipeline.build_changes:build_models",
    "history": "loader.history:History._store",
    "pages": "pipeline.build_changes:publish_report",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A tiny project that was built."""
    return Path(shutil.copytree(tiny_build(), tmp_path / "project"))


def trade(project: Path, *, comment: str = "Fine.") -> None:
    with sqlite3.connect(project / "shop.sqlite") as shop:
        shop.execute(
            "update orders set comments = ? where orderNumber ="
            " (select max(orderNumber) from orders where status = 'Shipped')",
            (comment,),
        )
        shop.execute("update orderdetails set quantityOrdered = quantityOrdered + 1")


def asked(project: Path, query: str = RUNS) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(project / "warehouse.duckdb"), read_only=True) as warehouse:
        rows: list[tuple[Any, ...]] = warehouse.execute(query).fetchall()
        return rows


def killed(project: Path, step: str, **variables: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DIES, STEPS[step]],
        cwd=project,
        env=environment() | variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == -9, done.stdout + done.stderr


def listed(project: Path, *arguments: str, **variables: str) -> list[dict[str, Any]]:
    done = script(project, "runs", "--json", *arguments, **variables)
    assert done.status == 0, done.err
    return [json.loads(line) for line in done.out.splitlines() if line]


def test_green_red_and_nothing_to_do(project: Path) -> None:
    before = len(asked(project))
    nothing = script(project, "build")
    assert nothing.status == 0, nothing.out + nothing.err
    trade(project, comment="It fails.")
    kept = duckdb.connect(str(project / "warehouse.duckdb"), read_only=True)  # a reader stays
    red = script(project, "build", BUILD="all")
    kept.close()
    assert red.status == 1 and (project / "warehouse.duckdb.failed" / "warehouse.duckdb").exists()
    found = asked(project)[before:]
    assert found == [
        ("make build", "succeeded", ""),
        ("make build", "failed", "failed: it_fails"),
    ]
    ((name, kind, rows),) = asked(
        project,
        "select node_name, node_kind, row_count from raw_classicmodels._run_nodes"
        " where outcome = 'fail'",
    )
    assert (name, kind) == ("it_fails", "test") and rows > 0
    # Readers have the marts of before, and nothing but the record is new.
    newest = listed(project)[0]
    assert newest["outcome"] == "failed" and newest["load_batch_id"] and newest["test_count"] == 2
    assert sorted(path.name for path in project.glob("warehouse.duckdb*")) == [
        "warehouse.duckdb",
        "warehouse.duckdb.failed",
    ]
    one = script(project, "runs", "--id", newest["run_id"])
    first = one.out.split("\n\n")[1].splitlines()[1]
    assert first.startswith("it_fails ") and "failed: it_fails" in one.out


def test_a_shop_that_is_away(project: Path) -> None:
    (project / "shop.sqlite").write_text("no database")
    done = script(project, "build", SOURCE="sqlite:///shop.sqlite")
    assert done.status == 1
    command, outcome, error = asked(project)[-1]
    assert (command, outcome) == ("make build", "failed") and "shop.sqlite" in error


@pytest.mark.long
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step(step: str, project: Path) -> None:
    """Readers are as before, or see a whole build; the next run says which was killed."""
    before = asked(project)
    trade(project)
    killed(project, step)
    if step not in ("lock", "history"):
        assert listed(project)[0]["outcome"] == "killed"  # its process is gone
    after = script(project, "build")
    assert after.status == 0, after.out + after.err
    found = asked(project)[len(before) :]
    if step == "lock":
        assert found == [("make build", "succeeded", "")]  # it was none yet
        return
    assert [outcome for _, outcome, _ in found] == ["killed", "succeeded"]
    lines = [line for line in after.err.splitlines() if "was killed" in line]
    assert len(lines) == 1 and lines[0].startswith("make build: WARNING: make build (since ")
    assert not list(project.glob("warehouse.duckdb.runs"))
    if step == "pages":
        # Its data are published, and it stays known what it did.
        ((nodes,),) = asked(
            project,
            "select count(*) from raw_classicmodels._run_nodes where run_id in"
            " (select run_id from raw_classicmodels._runs where outcome = 'killed')",
        )
        assert nodes > 5


@pytest.mark.parametrize("step", ["load", "build", "pages"])
@pytest.mark.long
def test_killed_at_a_step_on_postgres(step: str, project: Path, postgres: PostgresServer) -> None:
    database = own(f"runs_killed_{step}")
    postgres.create_database(database)
    there = {"TARGET": "postgres", **postgres.environment(database)}
    first = script(project, "build", **there)
    assert first.status == 0, first.out + first.err
    killed(project, step, **there)
    with psycopg.connect(postgres.url(database)) as warehouse:
        last = warehouse.execute(RUNS.encode()).fetchall()[-1]
    assert last == ("make build", "running", "")
    after = script(project, "build", **there)
    assert after.status == 0, after.out + after.err
    assert after.err.count("was killed") == 1
    with psycopg.connect(postgres.url(database)) as warehouse:
        found = warehouse.execute(RUNS.encode()).fetchall()
    assert [row[1] for row in found] == ["succeeded", "killed", "succeeded"]
    # A build that fails publishes nothing but its record.
    trade(project, comment="It fails.")
    red = script(project, "build", BUILD="all", **there)
    assert red.status == 1
    newest = listed(project, **there)[0]
    assert (newest["outcome"], newest["error"]) == ("failed", "failed: it_fails")


@pytest.mark.long
def test_tables_of_an_older_version_or_without_rights_fail_no_build(
    project: Path, postgres: PostgresServer
) -> None:
    with duckdb.connect(str(project / "warehouse.duckdb")) as warehouse:
        warehouse.execute("alter table raw_classicmodels._runs drop column test_count")
        warehouse.execute("drop table raw_classicmodels._run_nodes")
    trade(project)
    done = script(project, "build")
    assert done.status == 0 and "WARNING" not in done.err, done.err
    assert listed(project)[0]["test_count"] == 2
    assert len(listed(project, "--id", listed(project)[0]["run_id"])[0]["nodes"]) > 5


@pytest.mark.long
def test_a_view_of_that_name_is_one_warning(project: Path) -> None:
    """Nothing can be written there; the build is as green as without."""
    with duckdb.connect(str(project / "warehouse.duckdb")) as warehouse:
        warehouse.execute("alter table raw_classicmodels._runs rename to elsewhere")
        warehouse.execute(
            "create view raw_classicmodels._runs as select * from raw_classicmodels.elsewhere"
        )
    trade(project)
    done = script(project, "build")
    assert done.status == 0, done.out + done.err
    lines = [line for line in done.err.splitlines() if "WARNING" in line]
    assert len(lines) == 1 and "this run is not recorded" in lines[0], done.err


def test_make_lists_and_shows(project: Path) -> None:
    assert script(project, "build").status == 0
    lines = run(project, "make", "runs").out.splitlines()
    assert len(lines) == 3 and lines[0].startswith("run ")
    assert run(project, "make", "runs", "LAST=1").out.splitlines() == lines[:2]
    newest = json.loads(run(project, "make", "runs", "LAST=1", "JSON=1").out)
    assert lines[1].startswith(newest["run_id"]) and "nodes" not in newest
    shown = run(project, "make", "run", f"ID={newest['run_id']}")
    assert shown.status == 0 and "run_history" in shown.out
    assert shown.out.startswith(f"{newest['run_id']}  succeeded  make build (since ")
    nodes = json.loads(run(project, "make", "run", f"ID={newest['run_id']}", "JSON=1").out)["nodes"]
    assert {"run_history", "orders"} <= {node["name"] for node in nodes}


def test_an_unknown_run_is_one_sentence(project: Path) -> None:
    unknown = run(project, "make", "run", "ID=20260101")
    assert_one_sentence(unknown, "make run: there is no run 20260101 in duckdb: warehouse.duckdb")
    assert script(project, "runs", "--id", "20260101").status == 2
    assert script(project, "runs", "--id", "").status == 2
    assert_one_sentence(script(project, "runs", "--last", "many"), "LAST is a number of runs")
    assert_one_sentence(
        script(project, "runs", DUCKDB_PATH="none.duckdb"), "There is no warehouse none.duckdb"
    )


def test_while_another_program_has_the_file(project: Path) -> None:
    """As a watch has it: its last copy for readers is read, and who it is, said."""
    file = project / "warehouse.duckdb"
    readers = project / "warehouse.duckdb.readers"
    readers.mkdir()
    shutil.copyfile(file, readers / file.name)
    history = History(DuckDBDestination("raw_classicmodels", file), print, 90)
    history.begin("make watch")
    code = f"import duckdb; c = duckdb.connect({str(file)!r}); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout and writer.stdout.readline() == b"\n"
        done = script(project, "runs", "--json")
        shutil.rmtree(readers)
        alone = script(project, "runs")
        writer.kill()
    assert done.status == alone.status == 0, done.err
    found = [json.loads(line) for line in done.out.splitlines()]
    assert [run["command"] for run in found] == ["make watch", "make build"]
    assert f"(process {writer.pid})" in done.err and "warehouse.duckdb is in use by" in done.err
    assert "make watch" in alone.out and "make build" not in alone.out
    assert "Only runs that are not in it yet are shown" in alone.err


@pytest.mark.long
def test_ten_thousand_runs(project: Path) -> None:
    """They are listed within a second, and one more costs no more than before."""
    with duckdb.connect(str(project / "warehouse.duckdb")) as warehouse:
        warehouse.execute(
            "insert into raw_classicmodels._runs (run_id, command, started_at, outcome, seconds)"
            " select 'run ' || n, 'make build', now()::timestamp - interval (n) minute,"
            " 'succeeded', 1 from range(10000) as r(n)"
        )
    began = time.monotonic()
    found = run(project, sys.executable, "scripts/runs.py")
    took = time.monotonic() - began
    assert found.status == 0 and len(found.out.splitlines()) == 21
    assert took < 1.0 * SLOWER, took
    history = History(
        DuckDBDestination("raw_classicmodels", project / "warehouse.duckdb"), print, 90
    )
    began = time.monotonic()
    history.begin("make build")
    history.end("succeeded", "")
    assert time.monotonic() - began < 0.5 * SLOWER
    assert asked(project, "select count(*) from raw_classicmodels._runs")[0][0] > 10_000


# Beside the other tests on a busy machine.
SLOWER = 4


@pytest.mark.long
def test_the_mart_keeps_what_the_tables_have_no_longer(project: Path) -> None:
    """It follows what else is built, up to the run before."""
    trade(project)
    assert script(project, "build").status == 0
    days = "select run_date, node_name, run_count from marts.run_history where node_kind = 'test'"
    before = asked(project, days)
    assert ("it_fails", 1) in {row[1:] for row in before}
    with duckdb.connect(str(project / "warehouse.duckdb")) as warehouse:
        # As if the first build had been long ago.
        for table in ("raw_classicmodels._runs", "marts.run_history"):
            column = "started_at" if "runs" in table else "run_date"
            warehouse.execute(f"update {table} set {column} = {column} - interval 200 day")
    trade(project)
    assert script(project, "build").status == 0
    trade(project)
    assert script(project, "build").status == 0
    after = asked(project, days)
    # With what the second build tested, which the mart did not know yet.
    old = {(date - timedelta(200), name) for date, name, _ in before}
    found = {(date, name): count for date, name, count in after}
    assert old < found.keys()
    assert found[before[0][0] - timedelta(200), "it_fails"] == 2
    assert asked(project, "select sum(run_count) from raw_classicmodels._run_days") == [(2,)]
