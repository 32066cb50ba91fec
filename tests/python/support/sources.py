"""Each source as the conformance suite fills it: tables, rows, a view, a value that is lost.

A new source is one class and one row in SOURCES; it then has the whole suite.
"""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

from loader.dialects.standard import quote
from loader.schema import Kind
from support.one_run import own
from tools.servers import Server

Value = bool | int | float | Decimal | date | datetime | str | bytes | None
Row = Sequence[Value]
# A decimal column has ten digits, two of them behind the point.
Columns = Mapping[str, Kind]


class Shop(ABC):
    """A source that a test fills."""

    url: str
    # Leads to nothing that can be opened; its password, where it has one, is `secret`.
    broken_url: ClassVar[str]
    # Types that the source does not have, and what their columns arrive as.
    arrives_as: ClassVar[Mapping[Kind, Kind]] = {}
    # A type, and a value of it as the source writes it, that no warehouse can hold.
    lost: ClassVar[tuple[Kind, str]]
    # Key ranges are digested, so that unchanged ones need not be read.
    has_digests: ClassVar[bool] = False

    @abstractmethod
    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        """An empty shop of this test's own."""

    @abstractmethod
    def create(
        self, table: str, columns: Columns, rows: Sequence[Row], key: Sequence[str] = ()
    ) -> None:
        """Make a table with these rows. Columns of the key are not null."""

    @abstractmethod
    def insert(self, table: str, rows: Sequence[Row]) -> None:
        """Add rows to a table."""

    def create_view(self, view: str, table: str) -> bool:
        """Make a view of a whole table; returns whether the source has views."""
        return False

    @abstractmethod
    def insert_lost(self, table: str) -> None:
        """Add the row 1 to a table of an integer and the type of `lost`: the value that is lost."""


class SqlShop(Shop):
    """A database that is filled by SQL."""

    types: ClassVar[dict[Kind, str]] = {
        Kind.BOOLEAN: "boolean",
        Kind.SMALLINT: "smallint",
        Kind.INTEGER: "integer",
        Kind.BIGINT: "bigint",
        Kind.DECIMAL: "decimal(10,2)",
        Kind.DOUBLE: "double precision",
        Kind.DATE: "date",
        Kind.TIMESTAMP: "timestamp",
        Kind.TEXT: "text",
        Kind.BINARY: "blob",
    }

    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        self._columns: dict[str, Columns] = {}

    @abstractmethod
    def execute(self, sql: str) -> None:
        """Run one statement."""

    def create(
        self, table: str, columns: Columns, rows: Sequence[Row], key: Sequence[str] = ()
    ) -> None:
        self._columns[table] = columns
        parts = []
        for name, kind in columns.items():
            declared = self.types[kind]
            if name in key:
                # MySQL has no keys of type text.
                declared = ("varchar(40)" if kind is Kind.TEXT else declared) + " not null"
            parts.append(f"{self.quote(name)} {declared}")
        if key:
            parts.append(f"primary key ({', '.join(map(self.quote, key))})")
        self.execute(f"create table {self.quote(table)} ({', '.join(parts)})")
        self.insert(table, rows)

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        kinds = list(self._columns[table].values())
        if rows:
            values = ", ".join(f"({', '.join(map(self._literal, row, kinds))})" for row in rows)
            self.execute(f"insert into {self.quote(table)} values {values}")

    def create_view(self, view: str, table: str) -> bool:
        self.execute(f"create view {self.quote(view)} as select * from {self.quote(table)}")
        return True

    def insert_lost(self, table: str) -> None:
        self.execute(f"insert into {self.quote(table)} values (1, {self.lost[1]})")

    def quote(self, name: str) -> str:
        return quote(name)

    def _literal(self, value: Value, kind: Kind) -> str:
        match value:
            case None:
                return "null"
            case bool():
                return self.boolean(value)
            case bytes():
                return self.binary(value)
            case str() if kind is Kind.TEXT:
                return self.text(value)
            case float():
                return f"{value!r}e0" if "e" not in repr(value) else repr(value)
            case int() | Decimal():
                return str(value)
        return f"'{value}'"

    def boolean(self, value: bool) -> str:
        return str(value).lower()

    def binary(self, value: bytes) -> str:
        return f"x'{value.hex()}'"

    @abstractmethod
    def text(self, value: str) -> str:
        """SQL of a text; every character must arrive as it is."""


class MySQLShop(SqlShop):
    broken_url = "mysql://nobody:secret@127.0.0.1:1/shop"
    lost = (Kind.DATE, "'0000-00-00'")
    has_digests = True
    types: ClassVar[dict[Kind, str]] = SqlShop.types | {
        Kind.BOOLEAN: "bit(1)",
        Kind.TIMESTAMP: "datetime(6)",
    }
    server = "mariadb"

    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        super().__init__(request, folder)
        self._server: Server = request.getfixturevalue(self.server)
        self._name = own(f"source_{abs(hash(request.node.name)) % 10**8}")
        self.url = self._server.create_database(self._name)

    def execute(self, sql: str) -> None:
        self._server.execute(f"set sql_mode = ''; {sql}", self._name)

    def quote(self, name: str) -> str:
        return f"`{name}`"

    def boolean(self, value: bool) -> str:
        return f"b'{value:d}'"

    def text(self, value: str) -> str:
        return f"convert(x'{value.encode().hex()}' using utf8mb4)"


class RealMySQLShop(MySQLShop):
    server = "mysql"


class PostgresShop(SqlShop):
    broken_url = "postgresql://nobody:secret@127.0.0.1:1/shop"
    lost = (Kind.DATE, "'infinity'")
    has_digests = True
    types: ClassVar[dict[Kind, str]] = SqlShop.types | {Kind.BINARY: "bytea"}

    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        super().__init__(request, folder)
        self._server: Server = request.getfixturevalue("postgres")
        self._name = own(f"source_{abs(hash(request.node.name)) % 10**8}")
        self.url = self._server.create_database(self._name)

    def execute(self, sql: str) -> None:
        self._server.execute(sql, self._name)

    def binary(self, value: bytes) -> str:
        return f"'\\x{value.hex()}'"

    def text(self, value: str) -> str:
        return f"convert_from('\\x{value.encode().hex()}', 'UTF8')"


class SQLiteShop(SqlShop):
    broken_url = "sqlite:////nowhere/shop.sqlite"
    arrives_as: ClassVar[Mapping[Kind, Kind]] = dict.fromkeys(
        (Kind.SMALLINT, Kind.INTEGER), Kind.BIGINT
    )
    lost = (Kind.DATE, "'0000-00-00'")

    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        super().__init__(request, folder)
        self._path = folder / "shop.sqlite"
        self.url = f"sqlite:///{self._path}"
        # Else a reader locks out whoever writes.
        self.execute("pragma journal_mode = wal")

    def execute(self, sql: str) -> None:
        with sqlite3.connect(self._path) as connection:
            connection.execute(sql)
        connection.close()

    def boolean(self, value: bool) -> str:
        return str(int(value))

    def text(self, value: str) -> str:
        return f"cast(x'{value.encode().hex()}' as text)"


class FileShop(Shop):
    """CSV files, and a schema file that gives their types and keys."""

    broken_url = "file:////nowhere/*.csv"
    lost = (Kind.DATE, "0000-00-00")

    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        self._folder = folder / "dump"
        self._folder.mkdir()
        self.url = f"file:///{self._folder}"
        self._schema: dict[str, dict[str, object]] = {}

    def create(
        self, table: str, columns: Columns, rows: Sequence[Row], key: Sequence[str] = ()
    ) -> None:
        types = {
            name: "decimal(10,2)" if kind is Kind.DECIMAL else str(kind.value)
            for name, kind in columns.items()
        }
        self._schema[table] = {"columns": types} | ({"key": list(key)} if key else {})
        (self._folder / "schema.yml").write_text(yaml.safe_dump({"tables": self._schema}))
        self._append(table, ",".join(columns) + "\n")
        self.insert(table, rows)

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        self._append(table, "".join(f"{','.join(map(self._field, row))}\n" for row in rows))

    def insert_lost(self, table: str) -> None:
        self._append(table, f"1,{self.lost[1]}\n")

    def _append(self, table: str, text: str) -> None:
        with (self._folder / f"{table}.csv").open("a", newline="") as file:
            file.write(text)

    def _field(self, value: Value) -> str:
        match value:
            case None:
                return ""
            case bool():
                return str(value).lower()
            case bytes():
                return f"\\x{value.hex()}"
            case str():
                return '"' + value.replace('"', '""') + '"'
        return str(value)


SOURCES: dict[str, type[Shop]] = {
    "mysql": MySQLShop,
    "real_mysql": RealMySQLShop,
    "postgres": PostgresShop,
    "sqlite": SQLiteShop,
    "files": FileShop,
}
