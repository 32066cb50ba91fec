"""Every run leaves a row in the raw schema, whatever becomes of it; none fails because of that."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from loader import history, run_record
from loader.destinations import Destination
from loader.errors import LoadError
from loader.history import History, recorded
from loader.run_record import NodeRun
from support.clone import REPO
from support.loader_command import in_process
from support.one_run import own
from tools.servers import PostgresServer

Open = Callable[[], Destination]
Ask = Callable[[str], list[tuple[Any, ...]]]
RUNS = "select command, outcome, error, row_count, test_count from raw._runs order by run_id"
# A process that is killed when it has the lock and has said that it runs.
DIES = """
import os, signal, socket, sys
socket.gethostname = lambda: sys.argv[1]
from loader import DuckDBDestination, PostgresDestination
from loader.history import History, recorded
kind, where = sys.argv[2:]
if kind == "duckdb":
    made = DuckDBDestination("raw", where)
else:
    made = PostgresDestination("raw", dbname=where)
with made.alone("make build", print), recorded(History(made, print, 90), "make build"):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def made(warehouse: tuple[Open, Ask], tmp_path: Path) -> tuple[Open, Ask]:
    """Each warehouse, with the raw schema in it."""
    opened, ask = warehouse
    ask("create schema raw")
    return opened, ask


def do(opened: Open, command: str = "make build", say: Callable[[str], None] = print) -> Any:
    return recorded(History(opened(), say, 90), command)


def test_a_run_is_recorded_with_its_nodes(made: tuple[Open, Ask]) -> None:
    opened, ask = made
    with do(opened) as run:
        run.row_count = 7
        moment = datetime(2026, 11, 20, 12)
        run.add([NodeRun("it's a \\ test", "test", "fail", 0.25, 3, "a\0b;\n'", None)])
        run.add([NodeRun("orders", "source", "pass", 0.0, None, "", moment)])
    assert ask(RUNS) == [("make build", "succeeded", "", 7, 1)]
    rows = ask(
        "select node_name, node_kind, outcome, seconds, row_count, message, loaded_at"
        " from raw._run_nodes order by 1"
    )
    assert [(name, kind, outcome) for name, kind, outcome, *_ in rows] == [
        ("it's a \\ test", "test", "fail"),
        ("orders", "source", "pass"),
    ]
    assert float(rows[0][3]) == 0.25 and rows[0][4] == 3 and rows[0][5] == "ab;\n'"
    assert rows[1][6] == moment
    ((began, ended, seconds, host, process, code),) = ask(
        "select started_at, ended_at, seconds, host, process, code_version from raw._runs"
    )
    assert began <= ended and 0 <= seconds < 60
    assert (host, process) == (socket.gethostname(), os.getpid())
    assert code == run_record.code_version(REPO)


def test_a_run_that_fails_is_recorded(made: tuple[Open, Ask]) -> None:
    opened, ask = made
    with pytest.raises(LoadError), do(opened):
        raise LoadError("The shop's server is away.")
    with pytest.raises(KeyboardInterrupt), do(opened):
        raise KeyboardInterrupt
    with do(opened) as run:
        run.outcome, run.error = "failed", "failed: a_test"
    with do(opened):
        pass
    assert [row[1:3] for row in ask(RUNS)] == [
        ("failed", "The shop's server is away."),
        ("interrupted", ""),
        ("failed", "failed: a_test"),
        ("succeeded", ""),
    ]


def test_tables_that_are_missing_or_older_get_what_they_lack(made: tuple[Open, Ask]) -> None:
    opened, ask = made
    ask("create table raw._runs (run_id varchar(100), started_at timestamp, outcome varchar(100))")
    ask("insert into raw._runs values ('old', timestamp '2026-01-01 00:00:00', 'succeeded')")
    with do(opened):
        pass
    rows = ask("select command, outcome from raw._runs order by started_at desc")
    assert rows[0] == ("make build", "succeeded")
    ask("drop table raw._run_nodes")
    with do(opened) as run:
        run.add([NodeRun("a", "model", "success")])
    assert ask("select node_name from raw._run_nodes") == [("a",)]


def test_old_runs_are_summed_up_by_day(made: tuple[Open, Ask]) -> None:
    opened, ask = made
    with do(opened):
        pass
    today = run_record.now().replace(hour=0, minute=0, second=0, microsecond=0)
    for number, (age, outcome) in enumerate(
        [(120, "succeeded"), (120, "succeeded"), (120, "failed"), (91, "killed"), (89, "failed")]
    ):
        began = today - timedelta(age) + timedelta(hours=number)
        ask(
            "insert into raw._runs (run_id, command, started_at, outcome, seconds) values"
            f" ('{number}', 'make build', timestamp '{began}', '{outcome}',"
            f" {'null' if outcome == 'killed' else 10})"
        )
        ask(f"insert into raw._run_nodes (run_id, node_name) values ('{number}', 'a')")
    with do(opened):
        pass
    first, second = (today - timedelta(age) for age in (120, 91))
    days = "select run_day, command, outcome, run_count, seconds from raw._run_days order by 1, 3"
    expected = [
        (first.date(), "make build", "failed", 1, 10),
        (first.date(), "make build", "succeeded", 2, 20),
        (second.date(), "make build", "killed", 1, 0),
    ]
    assert ask(days) == expected
    assert ask("select run_id from raw._run_nodes") == [("4",)]
    assert ask("select count(*) from raw._runs") == [(3,)]
    # One of a day that was summed up before.
    ask(
        "insert into raw._runs (run_id, command, started_at, outcome, seconds) values"
        f" ('5', 'make build', timestamp '{first}', 'failed', 5)"
    )
    with do(opened):
        pass
    assert ask(days) == [(*expected[0][:3], 2, 15), *expected[1:]]


def test_a_clock_that_is_set_back_is_said(
    made: tuple[Open, Ask], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, ask = made
    said: list[str] = []
    with do(opened, say=said.append):
        monkeypatch.setattr(history, "now", lambda: run_record.now() - timedelta(hours=2))
    assert len(said) == 1 and "was set back during this run" in said[0] and "WARNING" in said[0]
    ((began, ended, seconds),) = ask("select started_at, ended_at, seconds from raw._runs")
    assert ended >= began and seconds >= 0
    # The next one begins before it, by the same clock.
    with do(opened, say=said.append):
        pass
    assert len(said) == 2 and "a clock is wrong" in said[1]


@pytest.mark.parametrize("host", ["here", "another"])
@pytest.mark.parametrize("kind", ["duckdb", "postgres"])
def test_a_run_that_was_killed_is_found_by_the_next(
    kind: str, host: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Also one of another machine: the lock is free, so that it is gone."""
    where, variables = str(tmp_path / "w.duckdb"), dict(os.environ)
    if kind == "duckdb":
        with duckdb.connect(where) as file:
            file.execute("create schema raw")
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        where = own(f"killed_{host}")
        server.create_database(where)
        server.execute("create schema raw authorization " + server.user, where)
        variables |= server.environment(where)
    name = socket.gethostname() if host == "here" else "another"
    dead = subprocess.run(
        [sys.executable, "-c", DIES, name, kind, where],
        cwd=REPO,
        env=variables,
        capture_output=True,
        text=True,
    )
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in variables.items():
            patch.setenv(variable, value)
        found = _opened(kind, where)
        with found.alone("make build", print), recorded(History(found, said.append, 90), "x"):
            pass
        with found.alone("make build", print), recorded(History(found, said.append, 90), "y"):
            pass
        with found.writing() as ask:
            rows = ask("select command, outcome, host, ended_at from raw._runs order by run_id")
    assert [row[:3] for row in rows] == [
        ("make build", "killed", name),
        ("x", "succeeded", socket.gethostname()),
        ("y", "succeeded", socket.gethostname()),
    ]
    assert rows[0][3] is None
    (line,) = said
    assert line.startswith("WARNING: make build (since ") and f"on {name}) was killed" in line
    assert not (tmp_path / "w.duckdb.runs").exists()


def _opened(kind: str, where: str) -> Destination:
    from loader import DuckDBDestination, PostgresDestination

    if kind == "duckdb":
        return DuckDBDestination("raw", where)
    return PostgresDestination("raw", dbname=where)


def test_a_run_of_a_watch_is_left_to_the_next_watch(made: tuple[Open, Ask]) -> None:
    """It leaves the lock to others between two batches."""
    opened, ask = made
    said: list[str] = []
    watch = History(opened(), said.append, 90)
    watch.begin("make watch")
    with do(opened, say=said.append):
        pass
    assert said == []
    watch.end("succeeded", "")
    assert [row[:2] for row in ask(RUNS)] == [
        ("make watch", "succeeded"),
        ("make build", "succeeded"),
    ]


def test_without_rights_there_is_one_line(postgres: PostgresServer) -> None:
    database = own("runs_without_rights")
    postgres.create_database(database)
    with psycopg.connect(postgres.url(database), autocommit=True) as admin:
        admin.execute("create schema raw")
        admin.execute("create table raw._runs (run_id text)")
        admin.execute("revoke all on schema raw from public")
        admin.execute("set session authorization default")
    postgres.execute("drop role if exists no_writer")
    postgres.execute("create role no_writer login password 'x'")
    from loader import PostgresDestination

    said: list[str] = []
    destination = PostgresDestination(
        "raw", dbname=database, user="no_writer", password="x",
        host="127.0.0.1", port=str(postgres.port),
    )  # fmt: skip
    with recorded(History(destination, said.append, 90), "make build") as run:
        run.row_count = 1
    (line,) = said
    assert line.startswith("WARNING: this run is not recorded, as PostgreSQL says: ")
    assert "permission denied" in line and "\n" not in line


def test_a_file_that_is_read_is_not_waited_for(tmp_path: Path) -> None:
    """A reader has it open for hours: the run is written with the next that can."""
    path = tmp_path / "w.duckdb"
    with duckdb.connect(str(path)) as file:
        file.execute("create schema raw")
    from loader import DuckDBDestination

    said: list[str] = []
    code = (
        f"import duckdb; c = duckdb.connect({str(path)!r}, read_only=True)\n"
        "print(flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as reader:
        assert reader.stdout and reader.stdout.readline() == b"\n"
        with recorded(History(DuckDBDestination("raw", path), said.append, 90), "first"):
            pass
        assert said == []
        (waits,) = (tmp_path / "w.duckdb.runs").glob("*.json")
        assert json.loads(waits.read_text())["outcome"] == "succeeded"
        reader.kill()
    with recorded(History(DuckDBDestination("raw", path), said.append, 90), "second"):
        pass
    assert said == [] and sorted(p.name for p in tmp_path.iterdir()) == ["w.duckdb"]
    with duckdb.connect(str(path)) as file:
        assert file.execute("select command from raw._runs order by 1").fetchall() == [
            ("first",),
            ("second",),
        ]


def test_a_load_is_recorded_with_its_batch(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.sqlite") as shop:
        shop.execute("create table t (id integer primary key)")
        shop.execute("insert into t values (1), (2)")
    arguments = ("--source", "sqlite:///shop.sqlite", "--raw-schema", "raw")
    for _ in range(2):
        assert in_process(*arguments, folder=tmp_path).code == 0
    missing = in_process("--source", "sqlite:///no.sqlite", "--raw-schema", "raw", folder=tmp_path)
    assert missing.code == 1
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as warehouse:
        runs = warehouse.execute(RUNS).fetchall()
        batches = warehouse.execute(
            "select count(*) from raw._runs join raw._load_runs on load_batch_id = batch_id"
        ).fetchall()
    assert [(command, outcome, rows) for command, outcome, _, rows, _ in runs] == [
        ("python -m loader", "succeeded", 2),
        ("python -m loader", "succeeded", 0),
        ("python -m loader", "failed", None),
    ]
    assert "no.sqlite" in runs[2][2] and batches == [(2,)]


def watched(folder: Path, end: signal.Signals) -> str:
    """Watch a shop until something is published, and end that; what it said."""
    command = (
        *(sys.executable, "-m", "loader", "watch", "--source", "sqlite:///shop.sqlite"),
        *("--raw-schema", "raw", "--every", "0.3s"),
    )
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPO)},
        stderr=subprocess.PIPE,
        text=True,
    ) as watch:
        board = folder / "warehouse.duckdb.watch.json"
        until = time.monotonic() + 60
        while watch.poll() is None and time.monotonic() < until:
            with suppress(OSError, ValueError):
                status = json.loads(board.read_text())
                if status["process"] == watch.pid and status["batches"]:
                    break
            time.sleep(0.1)
        watch.send_signal(end)
        _, said = watch.communicate(timeout=60)
    return said


def test_a_watch_is_one_run(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.sqlite") as shop:
        shop.execute("create table t (id integer primary key)")
        shop.execute("insert into t values (1), (2)")
    watched(tmp_path, signal.SIGKILL)
    with sqlite3.connect(tmp_path / "shop.sqlite") as shop:
        shop.execute("insert into t values (3)")
    said = watched(tmp_path, signal.SIGTERM)
    assert "WARNING: python -m loader watch (since " in said and "was killed" in said
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as warehouse:
        assert warehouse.execute(RUNS).fetchall() == [
            ("python -m loader watch", "killed", run_record.GONE, None, None),
            ("python -m loader watch", "succeeded", "", 1, 0),
        ]
        ((kind, message),) = warehouse.execute(
            "select node_kind, message from raw._run_nodes"
        ).fetchall()
    assert kind == "watch" and message.endswith("batches; no error")
