"""Rows travel in chunks that are read back one by one; digests are cut out of what travels."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import duckdb
import psycopg
import pytest

from loader import DuckDBDestination, PostgresDestination, load, ranges, wire
from loader.ranges import Digest, Digests, Partition, digests_of
from loader.schema import BIGINT, Column
from loader.wire import Block, chunks
from tools.servers import PostgresServer

KEY = Column("id", "id", "bigint", BIGINT, nullable=False)


def _line(key: int, rest: str) -> bytes:
    return f"{rest}\t{key}\t{rest}\n".encode()


def test_digests_are_those_of_each_range_and_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "ROWS_PER_BLOCK", 7)
    for seed in range(200):
        _compare_digests(random.Random(seed))


def _compare_digests(chosen: random.Random) -> None:
    partition = Partition(KEY, chosen.choice([1, 2, 7, 1000]))
    # With a key of two columns the first one repeats.
    keys = sorted(chosen.randint(-60, 60) for _ in range(chosen.randint(1, 80)))
    lines = [_line(key, "x" * chosen.randint(0, 90)) for key in keys]
    expected = Digests()
    for number in {partition.number(key) for key in keys}:
        own = [
            line for key, line in zip(keys, lines, strict=True) if partition.number(key) == number
        ]
        expected[number] = Digest.of(b"".join(own)[:-1], len(own))
    found = digests_of(b"".join(lines), 1, partition)
    assert found == expected
    blocks = sorted(found.blocks)
    assert blocks[0] == min(found)
    for first, after in zip(blocks, [*blocks[1:], 10**6], strict=True):
        own = [
            line
            for key, line in zip(keys, lines, strict=True)
            if first <= partition.number(key) < after
        ]
        assert found.blocks[first] == Digest.of(b"".join(own)[:-1], len(own))
        assert after == 10**6 or len(own) >= ranges.ROWS_PER_BLOCK


def test_chunks_are_all_there_is_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "CHUNK_BYTES", 10)
    blocks = [Block(b"x" * size, 1) for size in (4, 4, 4, 30, 1, 10, 9, 1, 5)]
    found = [list(chunk) for chunk in chunks(iter(blocks))]
    assert [block for chunk in found for block in chunk] == blocks
    assert [sum(len(block.data) for block in chunk) for chunk in found] == [12, 30, 11, 10, 5]
    assert list(chunks(iter([]))) == []


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Some thousand rows; every third of a kilobyte has escapes and nulls."""
    with sqlite3.connect(tmp_path / "shop.sqlite") as connection:
        connection.execute("create table notes (id integer primary key, text text, done boolean)")
        connection.executemany(
            "insert into notes values (?, ?, ?)",
            [
                (n, ["plain", "plain", "tab\tback\\slash\r\n", None][n // 40 % 4], n % 2)
                for n in range(5_000)
            ],
        )
        connection.commit()
        yield connection


EXPECTED = "select count(*), count(text), sum(id), sum(length(text)) from raw.notes"


def test_many_chunks_arrive_in_duckdb(
    shop: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "CHUNK_BYTES", 1_000)
    monkeypatch.setattr("loader.sources.sqlite.BLOCK_BYTES", 300)
    for statement in ("select 1", "update notes set text = text || 'é' where id % 3 = 0"):
        shop.execute(statement)
        shop.commit()
        load(f"sqlite:///{tmp_path}/shop.sqlite", DuckDBDestination("raw", tmp_path / "w.duckdb"))
        with duckdb.connect(str(tmp_path / "w.duckdb")) as warehouse:
            found = warehouse.execute(EXPECTED).fetchone()
        assert found == shop.execute(EXPECTED.replace("raw.", "")).fetchone()


def test_many_chunks_arrive_in_postgres(
    shop: sqlite3.Connection,
    tmp_path: Path,
    postgres: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "CHUNK_BYTES", 1_000)
    monkeypatch.setattr("loader.sources.sqlite.BLOCK_BYTES", 300)
    url = postgres.create_database("many_chunks")
    for statement in ("select 1", "update notes set text = text || 'é' where id % 3 = 0"):
        shop.execute(statement)
        shop.commit()
        options = psycopg.conninfo.conninfo_to_dict(url)
        load(
            f"sqlite:///{tmp_path}/shop.sqlite",
            PostgresDestination("raw", **{name: str(value) for name, value in options.items()}),
        )
        with psycopg.connect(url) as warehouse:
            found = warehouse.execute(EXPECTED.encode()).fetchone()
        assert found == shop.execute(EXPECTED.replace("raw.", "")).fetchone()


def test_a_column_called_rowid(tmp_path: Path) -> None:
    """DuckDB's own name for a row's place: the loader must not take the column for it."""
    url, path = f"sqlite:///{tmp_path}/shop.sqlite", tmp_path / "w.duckdb"
    with sqlite3.connect(tmp_path / "shop.sqlite") as shop:
        shop.execute("create table keyed (id integer primary key, rowid integer, v text)")
        shop.execute("create table plain (rowid integer, v text)")
        shop.execute("insert into keyed values (1, 7, 'a'), (2, 7, 'b'), (3, null, 'c')")
        shop.execute("insert into plain values (7, 'a'), (7, 'a'), (null, 'b'), (-1, 'c')")
        shop.commit()
        load(url, DuckDBDestination("raw", path))
        shop.execute("update keyed set v = 'new' where id = 2")
        shop.execute("delete from keyed where id = 3")
        shop.execute("delete from plain where v = 'a' and _rowid_ = 1")
        shop.commit()
        result = load(url, DuckDBDestination("raw", path))
    changes = {entry.table.name: entry.changes for entry in result.tables}
    assert (changes["keyed"].updated, changes["keyed"].deleted) == (1, 1)
    with duckdb.connect(str(path)) as warehouse:
        live = "select * exclude (_loaded_at, _batch_id, _deleted_at) from raw.{} where"
        live += " _deleted_at is null order by all"
        assert warehouse.execute(live.format("keyed")).fetchall() == [(1, 7, "a"), (2, 7, "new")]
        assert warehouse.execute(live.format("plain")).fetchall() == [
            (-1, "c"),
            (7, "a"),
            (None, "b"),
        ]
