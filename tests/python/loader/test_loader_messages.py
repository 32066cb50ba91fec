"""What a server refuses is said with table, column, a key, and what to do."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from loader import DuckDBDestination, LoadError, PostgresDestination, UsageError, load
from support.one_run import own
from tools.servers import PostgresServer


def test_rows_that_are_too_wide_for_postgresql(tmp_path: Path, postgres: PostgresServer) -> None:
    columns = 700
    with sqlite3.connect(tmp_path / "shop.sqlite") as shop:
        names = ", ".join(f"c{n} text" for n in range(columns))
        shop.execute(f"create table wide (id integer primary key, {names})")
        values = ", ".join("?" * columns)
        for key, text in ((7, "x"), (8, "value of a wide row"), (9, "x")):
            shop.execute(f"insert into wide values ({key}, {values})", [text] * columns)
    shop.close()
    warehouse = _warehouse(postgres, own("wide_rows"))
    with pytest.raises(LoadError) as caught:
        load(f"sqlite:///{tmp_path}/shop.sqlite", warehouse)
    said = str(caught.value)
    assert "staging the table wide: row is too big" in said
    assert "(for example where the key is 8); leave columns out with --exclude-columns" in said


def test_timeouts_of_the_role_do_not_end_a_load(tmp_path: Path, postgres: PostgresServer) -> None:
    with sqlite3.connect(tmp_path / "shop.sqlite") as shop:
        shop.execute("create table notes (id integer primary key, note text)")
        shop.executemany("insert into notes (note) values (?)", [("x" * 1_000,)] * 20_000)
    shop.close()
    name = own("impatient")
    warehouse = _warehouse(postgres, name)
    for timeout in ("statement_timeout", "idle_in_transaction_session_timeout"):
        postgres.execute(f"alter database {name} set {timeout} = '20ms'", name)
    (entry,) = load(f"sqlite:///{tmp_path}/shop.sqlite", warehouse).tables
    assert entry.changes.live == 20_000


def _warehouse(postgres: PostgresServer, name: str) -> PostgresDestination:
    options = psycopg.conninfo.conninfo_to_dict(postgres.create_database(name))
    return PostgresDestination("raw", **{key: str(value) for key, value in options.items()})


@pytest.fixture
def ascii_shop(postgres: PostgresServer) -> tuple[str, str]:
    """A database that does not know the encoding of its text; its URL and name."""
    name = own("sql_ascii")
    postgres.execute(f"drop database if exists {name} with (force)")
    postgres.execute(
        f"create database {name} owner {postgres.user} encoding 'SQL_ASCII'"
        " lc_collate 'C' lc_ctype 'C' template template0"
    )
    postgres.execute(
        r"create table customers (id integer primary key, n real, name text);"
        r" insert into customers values (1, 0.1, 'plain'), (2, null, e'Caf\xc3\xa9\t')",
        name,
    )
    return postgres.url(name), name


def test_text_of_a_database_in_no_encoding(
    ascii_shop: tuple[str, str], tmp_path: Path, postgres: PostgresServer
) -> None:
    url, name = ascii_shop
    path = tmp_path / "warehouse.duckdb"

    def names(query: str = "") -> list[Any]:
        load(url + query, DuckDBDestination("raw", path))
        with duckdb.connect(str(path), read_only=True) as connection:
            rows = connection.execute("select name from raw.customers order by id").fetchall()
        return [name for (name,) in rows]

    assert names() == ["plain", "Café\t"]
    postgres.execute(r"update customers set name = e'\x8a\x5c\xe9' where id = 2", name)
    with pytest.raises(LoadError) as caught:
        names()
    said = str(caught.value)
    for part in ("table customers", "byte 0x8A in the column name", "where the key is 2"):
        assert part in said
    assert "?client_encoding=latin1" in said
    assert names("?client_encoding=win1252") == ["plain", "Š\\é"]
    # A backslash that is the second byte of a character.
    postgres.execute(r"update customers set name = e'\x83\x5c' where id = 2", name)
    assert names("?client_encoding=shift_jis") == ["plain", "ソ"]
    with pytest.raises(UsageError, match=r"\?client_encoding=klingon is not known"):
        names("?client_encoding=klingon")
