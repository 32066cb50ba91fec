"""A DuckDB file that a watch keeps open: as long as changes come, and nobody else wants it."""

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest

from loader import LoadError
from loader.destinations.duckdb_kept import KeptFile
from loader.lock import FileLock
from support.one_run import own
from support.watched import Watched, ended, settled
from tools.servers import MariaDBServer

# Seconds between two looks.
STEP = 0.05


class Kept:
    """A shop of one table, a watch of it, and who has the warehouse's file open."""

    def __init__(self, server: MariaDBServer, target: Any, folder: Path) -> None:
        self._server, self._name, self.target = server, own("shop"), target
        self.file = Path(target.arguments[-1]).resolve()
        url = server.create_database(self._name)
        self.run("create table t (id int primary key, v int)")
        self.watched = Watched(url, target.arguments, target.environment, folder / "log")
        self.rows = 0

    def run(self, sql: str) -> None:
        """In the shop."""
        self._server.execute(sql, self._name)

    def sell(self) -> None:
        """One more row."""
        self.rows += 1
        self.run(f"insert into t values ({self.rows}, 1)")

    @contextmanager
    def business(self) -> Iterator[None]:
        """Rows come several times a second."""
        done = threading.Event()

        def work() -> None:
            while not done.wait(0.15):
                self.sell()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    @property
    def is_held(self) -> bool:
        """Whether the watch has the file open."""
        for link in Path(f"/proc/{self.watched.process}/fd").iterdir():
            try:
                if link.readlink() == self.file:
                    return True
            except FileNotFoundError:
                pass  # closed meanwhile
        return False

    def share_held(self, seconds: float) -> float:
        """For which part of some seconds the watch has it open."""
        looks = []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            looks.append(self.is_held)
            time.sleep(STEP)
        return sum(looks) / len(looks)

    def wait_until_free(self, seconds: float) -> None:
        """Fail where the file is not closed in time."""
        deadline = time.monotonic() + seconds
        while self.is_held:
            assert time.monotonic() < deadline, self.watched.said
            time.sleep(STEP)


@pytest.fixture
def kept(logging_mariadb: MariaDBServer, into_duckdb: Any, tmp_path: Path) -> Iterator[Kept]:
    """It follows, and a first row has come."""
    found = Kept(logging_mariadb, into_duckdb, tmp_path)
    with ended(found.watched):
        found.watched.start()
        found.watched.wait_for("rows are as the source")
        yield found


def test_the_file_stays_open_as_long_as_changes_come(kept: Kept) -> None:
    with kept.business():
        time.sleep(1.0)
        assert kept.share_held(6.0) > 0.6
    kept.wait_until_free(10.0)
    # Nothing is left in its log, so that anybody can read, and copy, the file alone.
    assert not kept.file.with_name(f"{kept.file.name}.wal").exists()
    with duckdb.connect(str(kept.file), read_only=True) as reader:
        ((rows,),) = reader.execute("select count(*) from raw.t").fetchall()
    assert rows == kept.rows


def test_a_reader_gets_the_file_while_changes_come(kept: Kept) -> None:
    with kept.business():
        time.sleep(1.0)
        for _ in range(2):
            # A moment every five seconds; a batch may just have begun.
            deadline, found = time.monotonic() + 20, 0
            while not found:
                try:
                    with duckdb.connect(str(kept.file), read_only=True) as reader:
                        ((found,),) = reader.execute("select count(*) from raw.t").fetchall()
                except duckdb.IOException as error:
                    assert "lock" in str(error), error
                    assert time.monotonic() < deadline, kept.watched.said
                    time.sleep(0.02)
    settled(kept.watched, kept.target.opened)


def test_who_has_the_lock_gets_the_file(kept: Kept) -> None:
    kept.sell()
    deadline = time.monotonic() + 10
    while not kept.is_held:
        assert time.monotonic() < deadline, kept.watched.said
        time.sleep(STEP)
    lock = FileLock(kept.file.with_name(f"{kept.file.name}.lock"))
    while lock.take("the test"):
        time.sleep(STEP)
    try:
        kept.wait_until_free(1.0)
        assert kept.share_held(1.0) == 0
        with kept.business():
            assert kept.share_held(1.5) == 0
    finally:
        lock.release()
    settled(kept.watched, kept.target.opened)


def test_a_file_that_was_replaced_is_not_written_any_more(tmp_path: Path) -> None:
    file, other = tmp_path / "w.duckdb", tmp_path / "other.duckdb"
    with duckdb.connect(str(file)) as connection:
        connection.execute("create table t as select 1 as a")
    shutil.copyfile(file, other)
    kept = KeptFile(file)
    kept.connect().execute("insert into t values (2)")
    assert kept.is_open
    other.replace(file)
    assert not kept.is_open
    kept.connect().execute("insert into t values (3)")
    kept.release()
    with duckdb.connect(str(file), read_only=True) as connection:
        assert connection.execute("select a from t order by a").fetchall() == [(1,), (3,)]


def test_a_file_that_others_have_is_not_waited_for_in_advance(tmp_path: Path) -> None:
    file = tmp_path / "w.duckdb"
    kept = KeptFile(file)
    kept.prepare()
    assert not kept.is_open and not file.exists()  # nothing that would look like a warehouse
    duckdb.connect(str(file)).close()
    kept.prepare()
    assert kept.is_open
    kept.release()
    assert not kept.is_open
    holds = f"import duckdb; c = duckdb.connect({str(file)!r}); print('open', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", holds], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout and other.stdout.readline() == "open\n"
        began = time.monotonic()
        with pytest.raises(LoadError, match="is open in another program"):
            kept.prepare()
        assert time.monotonic() - began < 1.0
        assert not kept.is_open
        other.communicate("\n")
    kept.prepare()
    kept.release()
