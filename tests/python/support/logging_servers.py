"""Servers that write a log, and warehouses that a watcher writes into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from loader import DuckDBDestination, PostgresDestination
from loader.destinations import Destination
from support.one_run import own
from tools.servers import MariaDBServer, MySQLServer, PostgresServer, ServerError

MARIADB: dict[str, str | int] = {"log-bin": "binlog", "binlog-format": "ROW", "server-id": 1}
MYSQL: dict[str, str | int] = {"gtid-mode": "ON", "enforce-gtid-consistency": "ON"}
POSTGRES: dict[str, str | int] = {"wal_level": "logical", "max_replication_slots": 40}


@dataclass
class Target:
    """A warehouse: arguments and environment of the command, and how to open and to ask it."""

    arguments: list[str]
    opened: Callable[[], Destination]
    ask: Callable[[str], list[tuple[Any, ...]]]
    environment: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def logging_mariadb() -> Iterator[MariaDBServer]:
    """A MariaDB server that writes a log, which the shop's user may read."""
    with MariaDBServer(settings=MARIADB) as server:
        server.execute(f"grant replication slave on *.* to {server.user}@'127.0.0.1'")
        yield server


@pytest.fixture(scope="module")
def logging_mysql() -> Iterator[MySQLServer]:
    """A server of MySQL itself that numbers its transactions; skipped where there is none."""
    try:
        MySQLServer.find_binaries()
    except ServerError as error:
        pytest.skip(str(error))
    with MySQLServer(settings=MYSQL) as server:
        rights = "replication slave, replication client"
        server.execute(f"grant {rights} on *.* to {server.user}@'127.0.0.1'")
        yield server


@pytest.fixture(scope="module")
def logging_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server that writes a logical log, which the shop's user may read."""
    with PostgresServer(settings=POSTGRES) as server:
        server.execute(f"alter role {server.user} replication")
        yield server


@pytest.fixture
def into_duckdb(tmp_path: Path) -> Target:
    """A file that does not exist yet."""
    path = tmp_path / "w.duckdb"

    def ask(sql: str) -> list[tuple[Any, ...]]:
        for _ in range(200):  # while the watcher writes, nobody else can open the file
            if not path.exists():
                break
            try:
                with duckdb.connect(str(path), read_only=True) as connection:
                    rows: list[tuple[Any, ...]] = connection.execute(sql).fetchall()
                return rows
            except duckdb.IOException:
                pass
        raise AssertionError(f"{path} cannot be opened")

    arguments = ["--target", "duckdb", "--duckdb-path", str(path)]
    return Target(arguments, lambda: DuckDBDestination("raw", path), ask)


@pytest.fixture
def into_postgres(request: pytest.FixtureRequest, postgres: PostgresServer) -> Target:
    """An empty database."""
    name = own(f"watch_{abs(hash(request.node.name)) % 10**8}")
    url = postgres.create_database(name)
    options = {k: str(v) for k, v in psycopg.conninfo.conninfo_to_dict(url).items()}
    return Target(
        ["--target", "postgres"],
        lambda: PostgresDestination("raw", **options),
        lambda sql: postgres.execute(sql, name),
        postgres.environment(name),
    )


@pytest.fixture
def target(request: pytest.FixtureRequest) -> Target:
    """The warehouse that the test's parameter names."""
    found: Target = request.getfixturevalue(f"into_{request.param}")
    return found
