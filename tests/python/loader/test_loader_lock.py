"""One run at a time writes into a warehouse; the next one says which, or waits."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import duckdb
import pytest
from psycopg.conninfo import conninfo_to_dict

import loader.lock
from loader import DuckDBDestination, PostgresDestination
from loader.destinations import Destination
from loader.errors import BusyError, LoadError, UsageError
from loader.lock import BUSY
from support.clone import REPO
from support.loader_command import in_process
from support.one_run import own
from tools.servers import PostgresServer

HOLDS = """
import sys
from loader import DuckDBDestination
with DuckDBDestination("raw", sys.argv[1]).alone("make build", print):
    print("taken", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_run(warehouse: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has the lock of a DuckDB warehouse."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(warehouse)],
        cwd=REPO,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout and process.stdout.readline() == b"taken\n"
        yield process


@pytest.fixture(params=["duckdb", "postgres"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Destination]:
    """A destination of one warehouse, by its raw schema."""
    if request.param == "duckdb":
        return lambda schema: DuckDBDestination(schema, tmp_path / "w.duckdb")
    server: PostgresServer = request.getfixturevalue("postgres")
    server.create_database(own("run_lock"))
    options = {k: str(v) for k, v in conninfo_to_dict(server.url(own("run_lock"))).items()}
    return lambda schema: PostgresDestination(schema, **options)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader.lock, "PATIENCE", 0.1)


def test_the_second_run_says_who_runs_since_when(opened: Callable[[str], Destination]) -> None:
    said = rf"^make build \(since \d\d \w+ \d\d:\d\d UTC, process {os.getpid()} on .* is writing"
    second = opened("raw").alone("another", print)
    with opened("raw").alone("make build", print), pytest.raises(BusyError, match=said):
        second.__enter__()
    with opened("raw").alone("another", print):
        pass


def test_a_run_that_waits_goes_on_when_the_other_ends(
    opened: Callable[[str], Destination], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAIT", "20")
    first = opened("raw").alone("make build", print)
    first.__enter__()
    said: list[str] = []
    # What is said before the wait is the moment to end the first one.
    ends = threading.Timer(0.3, lambda: first.__exit__(None, None, None))
    ends.start()
    began = time.monotonic()
    with opened("raw").alone("another", said.append):
        assert time.monotonic() - began > 0.2
    ends.join()
    assert len(said) == 1 and re.match(r"waiting up to 20 s for make build \(since", said[0])


def test_another_raw_schema_of_a_database_is_another_warehouse(
    opened: Callable[[str], Destination],
) -> None:
    one, other = opened("one"), opened("other")
    if isinstance(one, PostgresDestination):  # a file is one warehouse
        with one.alone("one", print), other.alone("other", print):
            pass


def test_wait_is_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAIT", "ten minutes")
    with pytest.raises(UsageError, match="WAIT is a number of seconds, such as 600, not ten"):
        DuckDBDestination("raw", tmp_path / "w.duckdb").alone("a", print).__enter__()


def test_the_loader_ends_with_its_own_exit_code(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.sqlite") as shop:
        shop.execute("create table t (id integer primary key)")
    arguments = ("--source", "sqlite:///shop.sqlite", "--raw-schema", "raw")
    (tmp_path / "link.duckdb").symlink_to("warehouse.duckdb")
    with another_run(tmp_path / "warehouse.duckdb") as holder:
        for path in ("warehouse.duckdb", "link.duckdb"):
            done = in_process(*arguments, "--duckdb-path", path, folder=tmp_path)
            assert done.code == BUSY, done
            assert re.match(rf"load: make build \(since .*, process {holder.pid} on ", done.err)
            assert path in done.err and "WAIT=600" in done.err and done.err.count("\n") == 1
        # To look is no run.
        plan = in_process(*arguments, "--plan", folder=tmp_path)
        assert plan.code == 0, plan
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert (tmp_path / "warehouse.duckdb.lock").exists()
    # The lock of a process that is gone is none.
    assert in_process(*arguments, folder=tmp_path).code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "link.duckdb",
        "shop.sqlite",
        "warehouse.duckdb",
    ]
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as warehouse:
        assert warehouse.execute("select count(*) from raw._load_runs").fetchall() == [(1,)]


def test_many_runs_one_after_the_other(tmp_path: Path) -> None:
    """Each removes its file, and no two have the lock, whoever opened which file when."""
    counter = tmp_path / "counter"
    counter.write_text("0")
    code = f"""
from pathlib import Path
from loader import DuckDBDestination
counter = Path({str(counter)!r})
for _ in range(60):
    with DuckDBDestination("raw", {str(tmp_path / "w.duckdb")!r}).alone("a", lambda text: None):
        counter.write_text(str(int(counter.read_text()) + 1))
"""
    runs = [
        subprocess.Popen([sys.executable, "-c", code], cwd=REPO, env={**os.environ, "WAIT": "100"})
        for _ in range(3)
    ]
    assert [run.wait() for run in runs] == [0, 0, 0]
    assert counter.read_text() == "180"
    assert [path.name for path in tmp_path.iterdir()] == ["counter"]


def test_a_lock_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "w.duckdb.lock").mkdir()
    run = DuckDBDestination("raw", tmp_path / "w.duckdb").alone("a", print)
    with pytest.raises(LoadError, match=r"w\.duckdb\.lock cannot be taken \(Is a directory\)"):
        run.__enter__()


def test_a_lock_is_met_while_arrow_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence about it does not ask Arrow for what is not there yet."""
    monkeypatch.setitem(sys.modules, "pyarrow", ModuleType("pyarrow"))
    destination = DuckDBDestination("raw", tmp_path / "w.duckdb")
    with pytest.raises(BusyError), destination._doing("opening it"):
        raise BusyError("Another load is running.")
