"""Tables that the source empties or rewrites between a load's snapshot and its first read of them.

PostgreSQL shows such a table without rows to the older snapshot; MariaDB refuses to read it. In
both cases nothing may be deleted for that.
"""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb
import pytest

from loader import DuckDBDestination, LoadError, Options, load
from loader.sources.mysql import MySQLSource
from loader.sources.postgres import PostgresSource
from loader.verify import verify
from support.one_run import own
from tools.servers import MariaDBServer, PostgresServer, Server

TABLES = (
    "create table t (id int primary key, v varchar(9)); insert into t values (1, 'a'), (2, 'b')"
)
PARTS = (
    "create table p (id int primary key) partition by range (id);"
    "create table p1 partition of p for values from (0) to (10);"
    "create table p2 partition of p for values from (10) to (20);"
    "insert into p values (1), (2), (11)"
)
MOVES = {
    "truncated": "truncate t",
    "refilled": "truncate t; insert into t values (1, 'a'), (2, 'b'), (3, 'c')",
    "rewritten": "alter table t alter id type bigint",
    "made anew": "drop table t; create table t (id int primary key, v varchar(9))",
    "renamed": "alter table t rename to old; create table t (id int primary key, v varchar(9))",
    "a part": "truncate p2",
}


class Moving:
    """A shop in which something happens once, when a load has listed the tables."""

    def __init__(self, server: Server, source: type, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server, self.name, self.sql = server, own("moving"), ""
        self.url = server.create_database(self.name)
        tables = source.tables  # type: ignore[attr-defined]

        def listing(*arguments: Any) -> Any:
            found = tables(*arguments)
            sql, self.sql = self.sql, ""
            if sql:
                self.run(sql)
            return found

        monkeypatch.setattr(source, "tables", listing)

    def run(self, sql: str) -> None:
        """In the shop."""
        self.server.execute(sql, self.name)


@pytest.fixture
def warehouse(tmp_path: Path) -> str:
    return str(tmp_path / "w.duckdb")


def held(file: str) -> dict[str, list[Any]]:
    with duckdb.connect(file, read_only=True) as connection:
        return {
            name: connection.execute(
                f"select id, _deleted_at from raw.{name} order by 1"
            ).fetchall()
            for name in ("t", "p")
        }


@pytest.mark.parametrize("move", MOVES)
def test_postgres(
    move: str, postgres: PostgresServer, warehouse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Moving(postgres, PostgresSource, monkeypatch)
    shop.run(TABLES)
    shop.run(PARTS)
    # What is not a table of this load may do as it likes.
    shop.run("create table other (id int primary key)")
    options = Options(max_delete_share=1.0, exclude=("other",))
    load(shop.url, DuckDBDestination("raw", warehouse), options)
    before = held(warehouse)
    assert len(before["t"]) == 2 and len(before["p"]) == 3
    shop.run("truncate other; insert into t values (9, 'new'); insert into p values (19)")
    shop.sql = MOVES[move]
    words = "was truncated, rewritten or made anew after the load began"
    with pytest.raises(LoadError, match=words):
        load(shop.url, DuckDBDestination("raw", warehouse), options)
    assert held(warehouse) == before
    # The next load sees all of it.
    load(shop.url, DuckDBDestination("raw", warehouse), options)
    verdicts, _, _ = verify(shop.url, DuckDBDestination("raw", warehouse), options)
    assert not any(verdict.differences for verdict in verdicts)


def test_a_part_in_a_schema_without_rights(
    postgres: PostgresServer, warehouse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are read with the table that it is part of; that it was emptied is seen too."""
    shop = Moving(postgres, PostgresSource, monkeypatch)
    role = own("reads_parts")
    shop.run(PARTS)
    postgres.execute(f"create role {role} login password 'x'")
    shop.run(f"create schema away; alter table p2 set schema away; grant select on p to {role}")
    url = urlsplit(shop.url)
    url = url._replace(netloc=f"{role}:x@{url.hostname}:{url.port}")
    try:
        result = load(url.geturl(), DuckDBDestination("raw", warehouse), Options())
        assert [entry.rows_read for entry in result.tables] == [3]
        shop.run("insert into p values (3)")
        shop.sql = "truncate away.p2"
        with pytest.raises(LoadError, match=r"away\.p2 was truncated"):
            load(url.geturl(), DuckDBDestination("raw", warehouse), Options())
    finally:
        shop.run(f"revoke all on p from {role}")
        postgres.execute(f"drop role {role}")


def test_a_check_reads_the_snapshot_too(
    postgres: PostgresServer, warehouse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not report what it did not see."""
    shop = Moving(postgres, PostgresSource, monkeypatch)
    shop.run(TABLES)
    load(shop.url, DuckDBDestination("raw", warehouse), Options())
    shop.sql = "truncate t"
    with pytest.raises(LoadError, match="after the load began"):
        verify(shop.url, DuckDBDestination("raw", warehouse), Options())


def test_mariadb(mariadb: MariaDBServer, warehouse: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server says it itself."""
    shop = Moving(mariadb, MySQLSource, monkeypatch)
    shop.run(TABLES)
    shop.run("create table p (id int primary key)")
    load(shop.url, DuckDBDestination("raw", warehouse), Options())
    before = held(warehouse)
    shop.run("insert into t values (9, 'new')")
    shop.sql = "truncate table t"
    with pytest.raises(LoadError):
        load(shop.url, DuckDBDestination("raw", warehouse), Options(max_delete_share=1.0))
    assert held(warehouse) == before
