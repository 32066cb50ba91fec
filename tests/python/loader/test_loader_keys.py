"""A key is believed only when it is one in the warehouse; else rows are compared as a whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import psycopg
import pytest

from conftest import Ask, Open
from loader import DuckDBDestination, LoadError, LoadResult, Options, TableOptions, load
from loader.schema import Kind
from loader.verify import verify
from support.one_run import own
from support.sources import SOURCES, SqlShop
from tools.servers import PostgresServer

Warehouse = tuple[Open, Ask]
# Files refuse such a key themselves, with the line.
DATABASES = [name for name, shop in SOURCES.items() if issubclass(shop, SqlShop)]


@dataclass
class Loads:
    """Loads of one source into one warehouse."""

    url: str
    open: Open

    def run(self, **options: object) -> tuple[int, int, int]:
        self.result: LoadResult = load(self.url, self.open(), Options(**options))  # type: ignore[arg-type]
        changes = self.result.tables[0].changes
        return changes.inserted, changes.updated, changes.deleted

    def refused(self, **options: object) -> str:
        with pytest.raises(LoadError) as caught:
            self.run(**options)
        said = str(caught.value)
        assert said.endswith(".") and "\n" not in said
        return said


@pytest.mark.parametrize(
    "source",
    # The warehouses differ in the check, the sources do not.
    [pytest.param(s, marks=() if s == "sqlite" else pytest.mark.long) for s in DATABASES],
)
def test_a_key_that_loses_a_value(
    source: str, request: pytest.FixtureRequest, tmp_path: Path, warehouse: Warehouse
) -> None:
    """From every database into every warehouse: keyed, refused, as a whole, and keyed again."""
    shop = SOURCES[source](request, tmp_path)
    assert isinstance(shop, SqlShop)
    loads, ask = Loads(shop.url, warehouse[0]), warehouse[1]
    days = (date(2026, 1, 1), date(2026, 1, 2))
    columns = {"day": shop.lost[0], "note": Kind.TEXT}
    shop.create("days", columns, [(day, "a") for day in days], key=["day"])
    assert loads.run() == (2, 0, 0)
    shop.execute("update days set note = 'b' where day = '2026-01-01'")
    assert loads.run() == (0, 1, 0)

    shop.execute(f"insert into days values ({shop.lost[1]}, 'lost')")
    said = loads.refused()
    for part in ("days: the key day is not one any more (1 rows", "null", "--full-refresh"):
        assert part in said
    assert ask("select count(*) from raw.days where _deleted_at is null") == [(2,)]

    assert loads.run(full_refresh=True) == (3, 0, 0)
    for _ in range(2):
        (warning,) = loads.result.warnings
        assert warning.startswith("days: day is not a key of the rows that were read (1 rows")
        assert "compared as a whole" in warning
        assert loads.run() == (0, 0, 0)
    verdicts, _, _ = verify(shop.url, loads.open(), Options())
    assert [verdict.differences for verdict in verdicts] == [[]]
    shop.execute("update days set note = 'c' where day = '2026-01-01'")
    assert loads.run() == (1, 0, 1)

    # The key is one again, but the warehouse has a tombstone with the key of another row.
    shop.execute("delete from days where note = 'lost'")
    assert loads.run() == (0, 0, 1)
    (warning,) = loads.result.warnings
    assert "but not in the warehouse (2 rows" in warning and "--full-refresh" in warning
    assert loads.run(full_refresh=True) == (2, 0, 0)
    shop.execute("update days set note = 'd' where day = '2026-01-01'")
    assert (loads.run(), loads.result.warnings) == ((0, 1, 0), [])


@pytest.fixture
def sqlite_shop(tmp_path: Path) -> Iterator[Callable[[str], object]]:
    """A way to write into tmp_path/shop.sqlite."""
    connection = sqlite3.connect(tmp_path / "shop.sqlite", isolation_level=None)
    yield connection.executescript
    connection.close()


@pytest.fixture
def loads(sqlite_shop: Callable[[str], object], tmp_path: Path) -> Loads:
    """Loads of that file into DuckDB."""
    path = tmp_path / "warehouse.duckdb"
    return Loads(f"sqlite:///{tmp_path}/shop.sqlite", lambda: DuckDBDestination("raw", path))


@pytest.mark.parametrize(
    ("declared", "first", "second"),
    [
        # One instant, in two time zones.
        ("datetime not null primary key", "'2024-05-01 12:00:00+02:00'", "'2024-05-01 10:00:00Z'"),
        ("boolean not null primary key", "'t'", "1"),
        # Any number of rows may have a null there, unless SQLite is told otherwise.
        ("integer primary key desc", "null", "null"),
    ],
)
def test_keys_that_are_equal_after_conversion(
    declared: str, first: str, second: str, sqlite_shop: Callable[[str], object], loads: Loads
) -> None:
    sqlite_shop(f"create table t (k {declared}, v text); insert into t values ({first}, 'a')")
    loads.run()
    sqlite_shop(f"insert into t values ({second}, 'b')")
    if "not null" in declared:
        assert "t: the key k is not one any more (2 rows share it" in loads.refused()
        assert loads.run(full_refresh=True) == (2, 0, 0)
        assert len(loads.result.warnings) == 1
    else:
        assert loads.run() == (1, 0, 0)
        assert loads.result.tables[0].table.key == ()
    assert loads.run() == (0, 0, 0)


def test_keys_that_the_warehouse_cannot_tell_apart(tmp_path: Path, warehouse: Warehouse) -> None:
    """From files: PostgreSQL and Redshift hold no NUL, DuckDB does."""
    folder = tmp_path / "dump"
    folder.mkdir()
    (folder / "schema.yml").write_text("tables: {t: {key: k}}")
    (folder / "t.csv").write_text("k,v\na,1\nb,2\n")
    loads, holds_nul = Loads(f"file:///{folder}", warehouse[0]), warehouse[0]().stores_nul
    assert loads.run() == (2, 0, 0)
    (folder / "t.csv").write_text("k,v\na,1\nb,2\na\0,3\n")
    if holds_nul:
        assert loads.run() == (1, 0, 0)
    else:
        assert "t: the key k is not one any more (2 rows share it" in loads.refused()
        assert loads.run(full_refresh=True) == (3, 0, 0)
        assert len(loads.result.warnings) == 1
    assert loads.run() == (0, 0, 0)


def test_nulls_in_a_composite_key_of_sqlite(
    sqlite_shop: Callable[[str], object], loads: Loads
) -> None:
    sqlite_shop(
        "create table stock (product integer, warehouse integer, quantity integer,"
        " primary key (product, warehouse));"
        " insert into stock values (1, 10, 5), (2, null, 7), (2, null, 8), (null, null, 9);"
    )
    assert [loads.run(), loads.run()] == [(4, 0, 0), (0, 0, 0)]
    assert loads.result.warnings == []
    sqlite_shop("update stock set quantity = 70 where quantity = 7")
    assert loads.run() == (1, 0, 1)


def test_a_table_that_gets_a_key_later(
    sqlite_shop: Callable[[str], object], loads: Loads, tmp_path: Path
) -> None:
    """Rows that were compared as a whole left tombstones with keys that live rows have."""
    sqlite_shop("create table t (k integer not null, v text); insert into t values (1, 'a')")
    loads.run()
    sqlite_shop("update t set v = 'b'")
    assert loads.run() == (1, 0, 1)
    sqlite_shop(
        "drop table t; create table t (k integer primary key, v text);"
        " insert into t values (1, 'c'), (2, 'x')"
    )
    assert loads.run(max_delete_share=1) == (2, 0, 1)
    assert "k is a key at the source, but not in the warehouse" in loads.result.warnings[0]
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        live = "select k, v from raw.t where _deleted_at is null order by k"
        assert connection.execute(live).fetchall() == [(1, "c"), (2, "x")]


def test_an_overlap_needs_a_key(sqlite_shop: Callable[[str], object], loads: Loads) -> None:
    sqlite_shop(
        "create table t (k datetime not null primary key, n integer);"
        " insert into t values ('2024-05-01 12:00:00+02:00', 1), ('2024-05-01 10:00:00Z', 2)"
    )
    appending = {"default": TableOptions(mode="append", cursor="n", overlap=5)}
    assert loads.run(**appending) == (2, 0, 0)
    assert "an overlap of --mode append would double rows" in loads.refused(**appending)


def test_a_key_of_bits(postgres: PostgresServer, tmp_path: Path) -> None:
    """It arrives as an integer, but PostgreSQL knows no smallest one."""
    url = postgres.create_database(own("bit_keys"))
    with psycopg.connect(url, autocommit=True) as shop:
        shop.execute("create table t (k bit(8) primary key); insert into t values (b'10000001')")
        loads = Loads(url, lambda: DuckDBDestination("raw", str(tmp_path / "warehouse.duckdb")))
        assert loads.run() == (1, 0, 0)
        shop.execute("insert into t values (b'00000001')")
        assert loads.run() == (1, 0, 0)
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        assert connection.execute("select k from raw.t order by k").fetchall() == [(1,), (129,)]


def test_a_hashed_key_is_not_shown(sqlite_shop: Callable[[str], object], loads: Loads) -> None:
    sqlite_shop("create table t (k date not null primary key); insert into t values ('0000-00-00')")
    loads.run(hash_columns=["k"], hash_salt="salt")
    assert "example" not in loads.result.warnings[0]


def test_a_renamed_key_column(sqlite_shop: Callable[[str], object], loads: Loads) -> None:
    """It does not read as if all rows were gone."""
    sqlite_shop("create table t (id integer primary key, v text); insert into t values (1, 'a')")
    loads.run()
    sqlite_shop("alter table t rename column id to number")
    said = loads.refused()
    assert "renamed its key column id to number" in said
    assert "--full-refresh" in said and "are gone" not in said
    assert loads.run(full_refresh=True, select=["t"]) == (1, 0, 0)
