"""The watch: raw tables are as the source after each pause, whatever happened in between."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from loader import DuckDBDestination, PostgresDestination
from loader.destinations import Destination
from support.one_run import own
from support.watched import (
    MARIADB_TABLES,
    POSTGRES_TABLES,
    Watched,
    Writer,
    ended,
    settled,
    write,
)
from tools.servers import MariaDBServer, PostgresServer

LONG = pytest.mark.long
TARGETS = ["duckdb", "postgres"]
MARIADB: dict[str, str | int] = {"log-bin": "binlog", "binlog-format": "ROW", "server-id": 1}
Opened = Callable[[], Destination]


@pytest.fixture(scope="module")
def shop_server() -> Iterator[MariaDBServer]:
    """A MariaDB server that writes a log."""
    with MariaDBServer(settings=MARIADB) as server:
        server.execute(f"grant replication slave on *.* to {server.user}@'127.0.0.1'")
        yield server


@pytest.fixture(scope="module")
def logical_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server that writes a logical log."""
    with PostgresServer(settings={"wal_level": "logical"}) as server:
        server.execute(f"alter role {server.user} replication")
        yield server


@pytest.fixture
def target(
    request: pytest.FixtureRequest, tmp_path: Path
) -> tuple[list[str], dict[str, str], Opened, Callable[[str], list[tuple[Any, ...]]]]:
    """A warehouse: arguments and environment of the command, and how to open and to ask it."""
    if request.param == "duckdb":
        path = tmp_path / "w.duckdb"

        def ask(sql: str) -> list[tuple[Any, ...]]:
            with duckdb.connect(str(path), read_only=True) as connection:
                rows: list[tuple[Any, ...]] = connection.execute(sql).fetchall()
            return rows

        arguments = ["--target", "duckdb", "--duckdb-path", str(path)]
        return arguments, {}, lambda: DuckDBDestination("raw", path), ask
    server: PostgresServer = request.getfixturevalue("postgres")
    name = own(f"watch_{abs(hash(request.node.name)) % 10**8}")
    url = server.create_database(name)
    options = {k: str(v) for k, v in psycopg.conninfo.conninfo_to_dict(url).items()}
    return (
        ["--target", "postgres"],
        server.environment(name),
        lambda: PostgresDestination("raw", **options),
        lambda sql: server.execute(sql, name),
    )


def rounds(server: Any, tables: str, target: Any, folder: Path, number: int, events: int) -> None:
    arguments, environment, opened, ask = target
    name = own("shop")
    url = server.create_database(name)
    server.execute(tables, name)
    watched = Watched(url, arguments, environment, folder / "log")
    with ended(watched):
        watched.start("--every", "1s")
        write(server, name, 1, events)
        shaper = Writer(server, name, 7)
        for n in range(number):
            write(server, name, n + 2, events)
            if n % 2:
                for _ in range(3):
                    shaper.event(shaping=True)
                    shaper.event()
            settled(watched, opened)
        code, seconds = watched.end()
        assert code == 0
        assert seconds < 5
    assert "fault" not in watched.said
    assert "Traceback" not in watched.said
    keys = ask("select count(*) from raw._load_tables where mode = 'keys' and status = 'succeeded'")
    assert keys[0][0] > number, watched.said


@pytest.mark.parametrize("target", TARGETS, indirect=True)
def test_random_rounds_of_mariadb(shop_server: MariaDBServer, target: Any, tmp_path: Path) -> None:
    rounds(shop_server, MARIADB_TABLES, target, tmp_path, 3, 12)


@pytest.mark.parametrize("target", TARGETS, indirect=True)
def test_random_rounds_of_postgres(
    logical_postgres: PostgresServer, target: Any, tmp_path: Path
) -> None:
    rounds(logical_postgres, POSTGRES_TABLES, target, tmp_path, 3, 12)
