"""Whatever dies, and whenever: the warehouse holds the old state or the new one, never half."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from loader import DuckDBDestination, LoadError, PostgresDestination, load
from loader.sources.mysql import MySQLSource
from support.clone import REPO
from support.commands import Started
from support.one_run import own
from tools.servers import MariaDBServer, PostgresServer

ROWS = 6_000
# How often, in `make test` and in `make test-long`.
LONG = pytest.mark.long
SIDES = ["duckdb_side", pytest.param("postgres_side", marks=LONG)]
LOADS = [12, pytest.param(50, marks=LONG)]

# Runs the command line once for each number that it reads, in a process that is killed before the
# statement of that number. Prints how the process ended.
KILLER = """
import os, signal, sys
from itertools import count
from loader.cli import main
from loader.destinations.duckdb import DuckDBDestination
from loader.destinations.postgres import PostgresDestination

def killed_before(last, destination):
    run, numbers = destination._run, count(1)
    def dying(self, sql):
        if next(numbers) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return run(self, sql)
    destination._run = dying

for line in sys.stdin:
    if not (child := os.fork()):
        for destination in (DuckDBDestination, PostgresDestination):
            killed_before(int(line), destination)
        os.dup2(2, 1)
        os._exit(main(sys.argv[1:]))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
ARGUMENTS = ("--raw-schema", "raw", "--max-delete-share", "1")

Versions = Callable[[], list[tuple[Any, ...]]]
SQL = (
    "select 'a' as name, min(version), max(version), count(*) from raw.a"
    " where _deleted_at is null union all"
    " select 'b', min(version), max(version), count(*) from raw.b where _deleted_at is null"
    " order by 1"
)


class Shop:
    """Two tables in which every row has the same version; a transaction moves both on."""

    def __init__(self, server: MariaDBServer, name: str, rows: int = ROWS) -> None:
        self._server, self._name = server, name
        self.version = 0
        self.url = server.create_database(name)
        self._execute(
            "create table a (id int primary key, version int, v varchar(200));"
            "create table b (k varchar(9), version int, v varchar(200));"
            f"insert into a select seq, 0, repeat('x', 150) from seq_1_to_{rows};"
            f"insert into b select seq, 0, repeat('y', 150) from seq_1_to_{rows}"
        )

    def _execute(self, sql: str) -> None:
        self._server.execute(sql, self._name)

    def move_on(self) -> int:
        """The next version, in every row of both tables."""
        self.version += 1
        self._execute(
            f"start transaction; update a set version = {self.version};"
            f" update b set version = {self.version}; commit"
        )
        return self.version


def _environment(tmp_path: Path, postgres: PostgresServer | None, name: str) -> dict[str, str]:
    if postgres is None:
        return {"TARGET": "duckdb", "DUCKDB_PATH": str(tmp_path / "w.duckdb")}
    return {"TARGET": "postgres", **postgres.environment(name)}


def _start(shop: Shop, environment: dict[str, str]) -> Started:
    return Started(REPO, "load", *ARGUMENTS, **environment, SOURCE=shop.url)


@pytest.fixture
def duckdb_side(tmp_path: Path) -> tuple[None, Versions]:
    def versions() -> list[tuple[Any, ...]]:
        with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
            rows: list[tuple[Any, ...]] = connection.execute(SQL).fetchall()
        return rows

    return None, versions


@pytest.fixture
def postgres_side(
    postgres: PostgresServer, request: pytest.FixtureRequest
) -> tuple[PostgresServer, Versions]:
    url = postgres.create_database(own("crashes"))

    def versions() -> list[tuple[Any, ...]]:
        with psycopg.connect(url) as connection:
            return connection.execute(SQL).fetchall()

    return postgres, versions


def _version(versions: Versions, rows: int) -> int:
    """The one version of all rows of both tables."""
    (a, low, high, count), (b, *other) = versions()
    assert (a, b) == ("a", "b")
    assert low == high and count == rows, "a table is half of one version"
    assert other == [low, high, count], "two tables of two versions"
    return int(low)


@pytest.mark.parametrize("side", SIDES)
def test_killed_before_each_statement(
    side: str, mariadb: MariaDBServer, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Whatever the loader asked the warehouse last, half a load is never seen."""
    postgres, versions = request.getfixturevalue(side)
    rows = 100
    shop = Shop(mariadb, own(f"statements_{side}"), rows)
    environment = os.environ | _environment(tmp_path, postgres, own("crashes"))
    environment |= {"SOURCE": shop.url, "PYTHONPATH": str(REPO)}
    with subprocess.Popen(
        [sys.executable, "-c", KILLER, *ARGUMENTS],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as killer:

        def load_until(number: int) -> int:
            assert killer.stdin and killer.stdout
            print(number, file=killer.stdin, flush=True)
            return int(killer.stdout.readline())

        assert load_until(0) == 0
        held, kept_old, kept_new = shop.version, 0, 0
        for number in range(1, 500):
            version = shop.move_on()
            ended = load_until(number)
            found = _version(versions, rows)
            assert found in (held, version)
            kept_old += found == held
            kept_new += found == version
            held = found
            if ended == 0:
                break
            assert ended == -signal.SIGKILL
        assert (ended, found) == (0, version)
        killer.communicate()
    print(f"{kept_old} left the old state, {kept_new} the new one")
    # The commit is one of the statements, and few come after it.
    assert kept_old > 20
    assert 1 <= kept_new < 10


@pytest.mark.parametrize(
    ("side", "kills"),
    [
        ("duckdb_side", 6),
        pytest.param("duckdb_side", 60, marks=LONG),
        pytest.param("postgres_side", 60, marks=LONG),
    ],
)
def test_killed_at_random_moments(
    side: str, kills: int, mariadb: MariaDBServer, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    postgres, versions = request.getfixturevalue(side)
    shop = Shop(mariadb, own(f"kills_{side}"))
    environment = _environment(tmp_path, postgres, own("crashes"))
    for _ in range(2):
        shop.move_on()
        began = time.monotonic()
        done = _start(shop, environment).ended()
        assert done.status == 0, done.err
    whole = time.monotonic() - began
    seed = random.randrange(10**6)
    print(f"seed {seed}, a whole load takes {whole:.2f} s")
    rng = random.Random(seed)
    held, died, finished = shop.version, 0, 0
    for _ in range(kills):
        version = shop.move_on()
        process = _start(shop, environment)
        # The first part of a run is only the start of the command.
        time.sleep(rng.uniform(0.2, 1.2) * whole)
        process.kill()
        found = _version(versions, ROWS)
        assert found in (held, version)
        died += found == held
        finished += found == version
        held = found
    # Both must have happened, or the moments were badly chosen.
    assert died >= kills // 6
    print(f"{died} left the old state, {finished} the new one")
    shop.move_on()
    done = _start(shop, environment).ended()
    assert done.status == 0, done.err
    assert versions() == [("a", *[shop.version] * 2, ROWS), ("b", *[shop.version] * 2, ROWS)]
    if postgres is None:
        assert [path.name for path in tmp_path.iterdir()] == ["w.duckdb"]


@pytest.mark.parametrize("loads", LOADS)
def test_readers_see_only_whole_states(
    loads: int, mariadb: MariaDBServer, postgres: PostgresServer, tmp_path: Path
) -> None:
    """A reader that looks all the time while loads go by (PostgreSQL: DuckDB locks out)."""
    shop = Shop(mariadb, own("readers"))
    url = postgres.create_database(own("readers"))
    options = {k: str(v) for k, v in psycopg.conninfo.conninfo_to_dict(url).items()}
    load(shop.url, PostgresDestination("raw", **options))
    seen: set[tuple[Any, ...]] = set()
    done = threading.Event()

    def look() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            while not done.is_set():
                seen.add(tuple(connection.execute(SQL).fetchall()))

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for _ in range(loads):
            shop.move_on()
            load(shop.url, PostgresDestination("raw", **options))
    finally:
        done.set()
        reader.join()
    whole = {(("a", n, n, ROWS), ("b", n, n, ROWS)) for n in range(loads + 1)}
    assert seen <= whole
    assert len(seen) > loads // 5


@pytest.fixture
def own_mariadb(mariadb: MariaDBServer) -> Iterator[MariaDBServer]:
    """A server that the test may stop."""
    with MariaDBServer() as server:
        yield server


@pytest.fixture
def own_postgres(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """A server that the test may stop."""
    with PostgresServer() as server:
        yield server


def test_the_source_dies_while_it_is_read(
    own_mariadb: MariaDBServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(own_mariadb, "dying")
    path = tmp_path / "w.duckdb"
    load(shop.url, DuckDBDestination("raw", path))
    shop.move_on()
    read = MySQLSource.read

    def dying(self: MySQLSource, table: Any, *what: Any) -> Any:
        if table.name == "b":
            own_mariadb.kill()
        return read(self, table, *what)

    with monkeypatch.context() as patched, pytest.raises(LoadError, match="MySQL source"):
        patched.setattr(MySQLSource, "read", dying)
        load(shop.url, DuckDBDestination("raw", path))
    with duckdb.connect(str(path)) as connection:
        assert connection.execute(SQL).fetchall() == [("a", 0, 0, ROWS), ("b", 0, 0, ROWS)]
        assert connection.execute(
            "select status from raw._load_runs order by batch_id"
        ).fetchall() == [("succeeded",), ("failed",)]
    own_mariadb.start()
    load(shop.url, DuckDBDestination("raw", path))


def test_the_warehouse_dies_while_it_publishes(
    mariadb: MariaDBServer, own_postgres: PostgresServer
) -> None:
    shop = Shop(mariadb, own("publishing"))
    url = own_postgres.create_database("dying")
    options = {k: str(v) for k, v in psycopg.conninfo.conninfo_to_dict(url).items()}
    load(shop.url, PostgresDestination("raw", **options))
    shop.move_on()
    destination = PostgresDestination("raw", **options)
    publish = destination.publish

    def dying(table: Any, stamp: Any, **how: Any) -> Any:
        if table.raw_name == "b":
            own_postgres.kill()
        return publish(table, stamp, **how)

    destination.publish = dying  # type: ignore[method-assign]
    with pytest.raises(LoadError, match="connection was lost"):
        load(shop.url, destination)
    own_postgres.start()
    with psycopg.connect(url) as connection:
        assert connection.execute(SQL).fetchall() == [("a", 0, 0, ROWS), ("b", 0, 0, ROWS)]
    load(shop.url, PostgresDestination("raw", **options))


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mount") is None, reason="a small disk needs root"
)
def test_a_full_disk(mariadb: MariaDBServer, tmp_path: Path) -> None:
    shop = Shop(mariadb, own("full_disk"))
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)])
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        path = disk / "w.duckdb"
        load(shop.url, DuckDBDestination("raw", path))
        mariadb.execute(
            "create table c (id int primary key, v varbinary(1000));"
            "insert into c select seq, random_bytes(1000) from seq_1_to_40000",
            own("full_disk"),
        )
        shop.move_on()
        with pytest.raises(LoadError, match=r"(?i)space|disk"):
            load(shop.url, DuckDBDestination("raw", path))
        with duckdb.connect(str(path)) as connection:
            assert connection.execute(SQL).fetchall() == [("a", 0, 0, ROWS), ("b", 0, 0, ROWS)]
        mariadb.execute("drop table c", own("full_disk"))
        load(shop.url, DuckDBDestination("raw", path))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
