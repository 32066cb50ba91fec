"""Every difficult value arrives as it was, or is null and counted, by every way there is."""

import sqlite3
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import product
from math import isfinite
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import psycopg
import pytest

from loader import (
    DuckDBDestination,
    LoadError,
    LoadResult,
    Options,
    PostgresDestination,
    load,
)
from loader.destinations import Changes, Destination
from support.difficult_values import (
    LOST,
    MYSQL,
    MYSQL_ITSELF,
    POSTGRES,
    POSTGRES_TYPES,
    SQLITE,
    Case,
)
from support.one_run import own
from tools.servers import MariaDBServer, MySQLServer, PostgresServer

Execute = Callable[[str], None]


@dataclass
class Shop:
    """A source with the tables of difficult values, and how to change it."""

    url: str
    cases: list[Case]
    tables: list[str]
    execute: Execute


@dataclass
class Warehouse:
    """A destination and how to look into it."""

    open: Callable[[], Destination]
    query: Callable[[str], list[tuple[Any, ...]]]
    as_text: str
    as_bytes: str = "{}"
    # Amazon Redshift holds no value of megabytes, and no decimal with 38 digits after the point.
    is_redshift: bool = False


def _create(execute: Execute, table: str, key: str, cases: list[Case]) -> None:
    columns = ", ".join(f"v{n:03} {kind}" for n, (kind, _, _) in enumerate(cases))
    names = ", ".join(f"v{n:03}" for n in range(len(cases)))
    execute(f"create table {table} (id {key} not null, touched int, {columns}, primary key (id))")
    values = ", ".join(literal for _, literal, _ in cases)
    nulls = ", ".join("default" if _generated(kind) else "null" for kind, _, _ in cases)
    for row, fields in ((1, values), (2, nulls)):
        _insert(execute, table, names, row, fields, cases)


def _insert(
    execute: Execute, table: str, names: str, row: int, fields: str, cases: list[Case]
) -> None:
    execute(f"insert into {table} (id, touched, {names}) values ({row}, 0, {fields})")


def _generated(kind: str) -> bool:
    return "generated" in kind


@pytest.fixture
def mysql_shop(small_mariadb: MariaDBServer, request: pytest.FixtureRequest) -> Shop:
    """Three tables, one for each way in which the rows of MySQL are read."""
    return _mysql_shop(small_mariadb, request, MYSQL)


@pytest.fixture
def real_mysql_shop(mysql: MySQLServer, request: pytest.FixtureRequest) -> Shop:
    """The same on MySQL itself."""
    return _mysql_shop(mysql, request, MYSQL_ITSELF)


def _mysql_shop(server: MariaDBServer, request: pytest.FixtureRequest, cases: list[Case]) -> Shop:
    name = own(f"values_{abs(hash(request.node.name)) % 10**8}")
    url = server.create_database(name)
    session = "set sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+05:30'; "

    def execute(sql: str) -> None:
        server.execute(session + sql, name)

    _create(execute, "by_range", "int", cases)
    _create(execute, "by_line", "varchar(9)", cases)
    # One value whose line would not fit into a packet of the server's.
    longer = [*cases, ("longblob", "repeat(x'00ff', 3000000)", b"\x00\xff" * 3_000_000)]
    _create(execute, "by_value", "varchar(9)", longer)
    return Shop(url, cases, ["by_range", "by_line", "by_value"], execute)


@pytest.fixture
def postgres_shop(postgres: PostgresServer, request: pytest.FixtureRequest) -> Shop:
    """One table; PostgreSQL has one way to read."""
    name = own(f"values_{abs(hash(request.node.name)) % 10**8}")
    url = postgres.create_database(name)

    def execute(sql: str) -> None:
        postgres.execute(sql, name)

    execute(POSTGRES_TYPES)
    _create(execute, "hard", "integer", POSTGRES)
    return Shop(url, POSTGRES, ["hard"], execute)


@pytest.fixture
def sqlite_shop(tmp_path: Path) -> Iterator[Shop]:
    """One table; SQLite lets any value into any column."""
    path = tmp_path / "shop.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)

    def execute(sql: str) -> None:
        connection.execute(sql)

    stored = [case for case in SQLITE if not _generated(case[0])]
    _create(execute, "hard", "integer", stored)
    yield Shop(f"sqlite:///{path}", stored, ["hard"], execute)
    connection.close()


SHOPS = ("mysql_shop", "real_mysql_shop", "postgres_shop", "sqlite_shop")
WAREHOUSES = (
    "duckdb_warehouse",
    "postgres_warehouse",
    "redshift_warehouse",
    "slow_redshift_warehouse",
)
# What a source reads goes into Redshift in one of the two ways in `make test`, in both in the end.
LONG = {
    ("mysql_shop", "redshift_warehouse"),
    ("mysql_shop", "slow_redshift_warehouse"),
    ("real_mysql_shop", "redshift_warehouse"),
    ("real_mysql_shop", "slow_redshift_warehouse"),
    ("postgres_shop", "redshift_warehouse"),
    ("sqlite_shop", "redshift_warehouse"),
}


@pytest.fixture
def shop(request: pytest.FixtureRequest) -> Shop:
    """The source that the test's parameter names."""
    found: Shop = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def duckdb_warehouse(tmp_path: Path) -> Warehouse:
    """A DuckDB file."""
    path = tmp_path / "warehouse.duckdb"

    def query(sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(path), read_only=True) as connection:
            rows: list[tuple[Any, ...]] = connection.execute(sql).fetchall()
        return rows

    return Warehouse(
        lambda: DuckDBDestination("raw", path),
        query,
        r"regexp_replace(cast({} as varchar), '(.*) .BC.(.*)', '\1\2 BC')",
    )


@pytest.fixture
def postgres_warehouse(postgres: PostgresServer, request: pytest.FixtureRequest) -> Warehouse:
    """A PostgreSQL database."""
    url = postgres.create_database(own(f"warehouse_{abs(hash(request.node.name)) % 10**8}"))

    def query(sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(url) as connection:
            return connection.execute(sql).fetchall()

    options = psycopg.conninfo.conninfo_to_dict(url)
    return Warehouse(
        lambda: PostgresDestination("raw", **{k: str(v) for k, v in options.items()}),
        query,
        "cast({} as text)",
    )


def _through_the_shim(
    opened: Callable[[], Destination], server: PostgresServer, database: str
) -> Warehouse:
    url = server.url(database)

    def query(sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(url) as connection:
            return connection.execute(sql).fetchall()

    return Warehouse(opened, query, "cast({} as text)", "cast({} as bytea)", is_redshift=True)


@pytest.fixture
def redshift_warehouse(
    redshift: Any, redshift_database: str, postgres: PostgresServer
) -> Warehouse:
    """Redshift as the shim plays it, loaded by COPY."""
    return _through_the_shim(redshift, postgres, redshift_database)


@pytest.fixture
def slow_redshift_warehouse(
    redshift: Any, redshift_database: str, postgres: PostgresServer
) -> Warehouse:
    """The same, loaded by INSERT."""
    return _through_the_shim(lambda: redshift(s3=None), postgres, redshift_database)


@pytest.fixture(params=WAREHOUSES)
def warehouse(request: pytest.FixtureRequest) -> Warehouse:
    """Each destination in turn."""
    found: Warehouse = request.getfixturevalue(request.param)
    return found


def _held(warehouse: Warehouse, table: str, cases: list[Case], row: str) -> list[Any]:
    """The live row's values. Dates that Python has no object for are asked for as text."""
    fields = []
    for n, (kind, _, expected) in enumerate(cases):
        dated = isinstance(expected, str) and kind.startswith(("date", "timestamp"))
        template = warehouse.as_bytes if isinstance(expected, bytes) else "{}"
        fields.append((warehouse.as_text if dated else template).format(f"v{n:03}"))
    rows = warehouse.query(
        f"select {', '.join(fields)} from raw.{table} where cast(id as varchar(9)) = '{row}'"
        " and _deleted_at is null"
    )
    assert len(rows) == 1
    return list(rows[0])


def _check(warehouse: Warehouse, shop: Shop) -> None:
    for table in shop.tables:
        held = _held(warehouse, table, shop.cases, "1")
        wrong = [
            (f"v{n:03}", kind, literal, expected if expected is not LOST else "LOST", value)
            for n, ((kind, literal, expected), value) in enumerate(
                zip(shop.cases, held, strict=True)
            )
            if not _same(_as_held(expected, warehouse), value)
        ]
        assert not wrong, table
        nulls = _held(warehouse, table, shop.cases, "2")
        not_null = [
            (kind, value)
            for (kind, _, _), value in zip(shop.cases, nulls, strict=True)
            if value is not None and not _generated(kind)
        ]
        assert not not_null, table
        counted = {
            (column, key)
            for column, key, count in warehouse.query(
                "select column_name, sample_key, value_count from raw._load_issues"
                f" where table_name = '{table}' and reason like '%loaded as null%'"
                " and batch_id = (select max(batch_id) from raw._load_runs)"
            )
            if count == 1
        }
        lost = {(f"v{n:03}", "1") for n, case in enumerate(shop.cases) if case[2] is LOST}
        if warehouse.is_redshift:
            # The value that is longer than all, which test_loader_redshift looks at.
            counted.discard((f"v{len(shop.cases):03}", "1"))
        assert counted == lost, table


def _as_held(expected: Any, warehouse: Warehouse) -> Any:
    if expected is LOST:
        return None
    if isinstance(expected, Decimal) and warehouse.is_redshift:
        return str(expected) if expected.as_tuple().exponent == -38 else expected
    return expected


def _same(expected: Any, value: Any) -> bool:
    """Equal in type and value; floats to the last bit, NaN equals NaN."""
    if isinstance(expected, float):
        return isinstance(value, float) and repr(expected) == repr(value)
    return type(expected) is type(value) and bool(expected == value)


def test_the_tables_are_hard_enough() -> None:
    """At least 120 values a source."""
    assert min(len(MYSQL), len(POSTGRES), len(SQLITE)) >= 120


@pytest.mark.parametrize(
    ("shop", "warehouse"),
    [
        pytest.param(*pair, marks=pytest.mark.long if pair in LONG else ())
        for pair in product(SHOPS, WAREHOUSES)
    ],
    indirect=True,
)
def test_values_survive_every_way(shop: Shop, warehouse: Warehouse) -> None:
    """First load, change, a run without changes, delete and return."""
    load(shop.url, warehouse.open())
    _check(warehouse, shop)

    for table in shop.tables:
        shop.execute(f"update {table} set touched = touched + 1")
    changed = load(shop.url, warehouse.open())
    assert {entry.changes.updated for entry in changed.tables} == {2}
    _check(warehouse, shop)

    unchanged = load(shop.url, warehouse.open())
    assert all(
        (entry.changes.inserted, entry.changes.updated, entry.changes.deleted) == (0, 0, 0)
        for entry in unchanged.tables
    )
    _check(warehouse, shop)

    names = ", ".join(
        ["id", "touched"]
        + [f"v{n:03}" for n, case in enumerate(shop.cases) if not _generated(case[0])]
    )
    for table in shop.tables:
        shop.execute(f"create table kept_{table} as select {names} from {table}")
        shop.execute(f"delete from {table}")
    gone = load(shop.url, warehouse.open(), Options(select=shop.tables, max_delete_share=1))
    assert {entry.changes.deleted for entry in gone.tables} == {2}

    for table in shop.tables:
        shop.execute(f"insert into {table} ({names}) select {names} from kept_{table}")
    back = load(shop.url, warehouse.open(), Options(select=shop.tables, max_delete_share=1))
    assert {entry.changes.inserted for entry in back.tables} == {2}
    _check(warehouse, shop)


def test_nul_in_text(mariadb: MariaDBServer, warehouse: Warehouse) -> None:
    """DuckDB keeps a NUL; PostgreSQL cannot, so it is removed and counted."""
    name = own("nul_in_text")
    url = mariadb.create_database(name)
    mariadb.execute(
        "create or replace table t (id int primary key, v varchar(9)); truncate t;"
        " insert into t values (7, concat('a', char(0), 'b'))",
        name,
    )
    result = load(url, warehouse.open())
    ((value,),) = warehouse.query("select v from raw.t")
    issues = warehouse.query("select reason, value_count, sample_key from raw._load_issues")
    if isinstance(warehouse.open(), DuckDBDestination):
        assert (value, issues, result.issue_count) == ("a\0b", [], 0)
    else:
        assert value == "ab"
        assert issues == [("NUL character removed from text", 1, "7")]


def test_a_type_that_does_not_hold_the_values_becomes_wider(tmp_path: Path) -> None:
    """That is told; and the type stays when the value is corrected: no other row changes."""
    path = tmp_path / "warehouse.duckdb"
    with sqlite3.connect(tmp_path / "shop.sqlite", isolation_level=None) as shop:
        shop.execute(
            "create table t"
            " (id integer primary key, n int, paid boolean, placed datetime, day date)"
        )
        shop.executemany(
            "insert into t values (?, ?, ?, ?, ?)",
            [
                (1, 7, 1, "2024-05-01T10:00:00Z", "2024-05-01"),
                (2, 8, "f", "2024-05-01 10:00", "0000-00-00"),
            ],
        )

    def loaded() -> tuple[tuple[int, int, int], list[tuple[Any, ...]], dict[tuple[str, str], Any]]:
        (entry,) = load(f"sqlite:///{tmp_path}/shop.sqlite", DuckDBDestination("raw", path)).tables
        with duckdb.connect(str(path), read_only=True) as connection:
            rows = connection.execute(
                "select n, paid, placed, day from raw.t where _deleted_at is null order by id"
            ).fetchall()
        done = entry.changes.inserted, entry.changes.updated, entry.changes.deleted
        found = {where: (i.count, i.sample_key) for where, i in entry.issues.found.items()}
        return done, rows, found

    zero = {("day", "zero or partial date, loaded as null"): (1, "2")}
    ten = datetime(2024, 5, 1, 10)
    assert loaded() == (
        (2, 0, 0),
        [(7, True, ten, date(2024, 5, 1)), (8, False, ten, None)],
        zero,
    )
    odd = [
        (Decimal(7), "1", "2024-05-01T10:00:00Z", date(2024, 5, 1)),
        (Decimal("8.5"), "maybe", "soon", None),
    ]
    shop.execute("update t set n = 8.5, paid = 'maybe', placed = 'soon' where id = 2")
    said = "value does not fit {}, so the column is loaded as {}"
    told = {
        ("n", said.format("INT", "decimal(20,1)")): (1, "2"),
        ("paid", said.format("boolean", "text")): (1, "2"),
        ("placed", said.format("datetime", "text")): (1, "2"),
    }
    done, rows, found = loaded()
    assert done[0] == done[2] == 0
    assert [row[:1] + row[2:] for row in rows] == [row[:1] + row[2:] for row in odd]
    assert found == told | zero
    shop.execute("update t set n = 9, paid = 'f', placed = '2024-05-02' where id = 2")
    assert loaded() == ((0, 1, 0), [odd[0], (Decimal(9), "f", "2024-05-02", None)], zero)
    assert loaded()[0] == (0, 0, 0)
    shop.close()


def test_types_of_sqlite_that_the_warehouse_holds(tmp_path: Path) -> None:
    """A hash is text whatever its column holds; and text does not hold bytes."""
    path = tmp_path / "warehouse.duckdb"
    with sqlite3.connect(tmp_path / "shop.sqlite", isolation_level=None) as shop:
        shop.execute("create table t (id integer primary key, paid decimal(10,2), raw text)")
        shop.execute("insert into t values (1, 1.5, 'a')")

    def loaded() -> LoadResult:
        options = Options(hash_columns=["paid"], hash_salt="salt")
        return load(f"sqlite:///{tmp_path}/shop.sqlite", DuckDBDestination("raw", path), options)

    loaded()
    assert loaded().tables[0].changes == Changes(live=1)
    shop.execute("insert into t values (2, 1.555, 'b')")
    assert loaded().tables[0].changes == Changes(inserted=1, live=2)
    shop.execute("drop table t")
    shop.execute("create table t (id integer primary key, paid decimal(10,2), raw blob)")
    shop.execute("insert into t values (1, 1.5, x'ff')")
    with pytest.raises(LoadError, match=r"t\.raw is binary now, but text in the warehouse"):
        loaded()
    shop.close()


@pytest.mark.parametrize("server", ["small_mariadb", "mysql"])
def test_doubles_and_floats_of_mysql_are_exact(
    server: str, duckdb_warehouse: Warehouse, request: pytest.FixtureRequest
) -> None:
    """MySQL has room for 22 characters where it calculates a double, and leaves digits out."""
    database: MariaDBServer = request.getfixturevalue(server)
    random, name = Random(1), own("doubles")
    url = database.create_database(name)

    def drawn(kind: str, size: int) -> list[float]:
        found = (struct.unpack(kind, random.randbytes(size))[0] for _ in range(4_000))
        return [value for value in found if isfinite(value)]

    doubles, floats = drawn("<d", 8), drawn("<f", 4)
    for table, kind, values in (("doubles", "double", doubles), ("floats", "float", floats)):
        rows = ", ".join(f"({n}, {value!r}{'' if 'e' in repr(value) else 'e0'})"
                         for n, value in enumerate(values))  # fmt: skip
        database.execute(
            f"create table {table} (id int primary key, v {kind});"
            f" insert into {table} values {rows}",
            name,
        )
    load(url, duckdb_warehouse.open(), Options())
    for table, values in (("doubles", doubles), ("floats", floats)):
        held = duckdb_warehouse.query(f"select v from raw.{table} order by id")
        assert [(n, v) for n, (v,) in enumerate(held) if repr(v) != repr(values[n])] == []
