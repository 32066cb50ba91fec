"""SQLite: one read transaction. Each value is checked, because the file enforces no types."""

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote as percent_encoded

from ..dialects.standard import literal, quote
from ..errors import LoadError
from ..ranges import Scope
from ..schema import BINARY, TEXT, Column, Table, Type, widest
from ..urls import SourceUrl
from ..wire import BLOCK_BYTES, Block, Issues
from .base import VIEW, Source, Wanted
from .sqlite_values import (
    InexactError,
    MisfitError,
    Value,
    Writer,
    fits,
    narrowest,
    plain_sql,
    type_of,
    writer,
)


def open_source(url: SourceUrl) -> "SQLiteSource":
    """Open the file read-only. Raises LoadError in one sentence."""
    return SQLiteSource(url)


class SQLiteSource(Source):
    """One connection in one read transaction.

    No setting of a connection is stored in the file, so none can change what it returns.
    """

    marks_infinity = False

    def __init__(self, url: SourceUrl) -> None:
        self.url = url
        self.warnings: list[str] = []
        self.left_out: dict[str, str] = {}
        path = Path(url.database)
        if not path.is_file():
            raise LoadError(f"There is no SQLite file {path}: check the path in the source URL.")
        try:
            self._connection = sqlite3.connect(
                f"file:{percent_encoded(str(path))}?mode=ro",
                uri=True,
                isolation_level=None,
                timeout=30,
                check_same_thread=False,
            )
            self._connection.text_factory = _decode
            self._connection.execute("begin")
            self._connection.execute("select count(*) from sqlite_master").fetchone()
        except sqlite3.Error as error:
            if hasattr(self, "_connection"):
                self.close()
            raise LoadError(f"The SQLite file {path} cannot be read: {error}.") from None

    def close(self) -> None:
        self._connection.close()

    def tables(self, wanted: Wanted) -> list[Table]:
        name = "sqlite_master"
        try:
            rows = self._connection.execute(
                "select name, type, sql like 'create virtual%' from sqlite_master"
                " where type in ('table', 'view')"
                " and name not like 'sqlite\\_%' escape '\\' order by name"
            ).fetchall()
            chosen = wanted({str(name): VIEW if kind == "view" else "" for name, kind, _ in rows})
            tables = []
            for name, kind, is_virtual in rows:
                if name not in chosen and (kind == "view" or is_virtual):
                    continue
                try:
                    tables.append(self._table(name))
                except sqlite3.Error as error:
                    if not is_virtual:
                        raise
                    # Its module is not a part of this SQLite.
                    self.left_out[name] = f"a virtual table that cannot be read: {error}"
        except sqlite3.Error as error:
            raise LoadError(f"The SQLite table {name} cannot be read: {error}.") from None
        return [self._fitted(t) if t.name in chosen else t for t in tables]

    def count(self, table: Table, scope: Scope) -> int:
        where, parameters = _after(scope)
        query = f"select count(*) from {quote(table.name)}{where}"
        try:
            return int(self._connection.execute(query, parameters).fetchone()[0])
        except sqlite3.Error as error:
            raise LoadError(f"Counting the SQLite table {table.name} failed: {error}.") from None

    def read(self, table: Table, scope: Scope, issues: Issues) -> Iterator[Block]:
        where, parameters = _after(scope)
        names = ", ".join(quote(column.name) for column in table.columns)
        writers = [_counting(column, table) for column in table.columns]
        key_positions = [table.columns.index(column) for column in table.key_columns]
        lines: list[str] = []
        size = 0
        try:
            query = f"select {names} from {quote(table.name)}{where}"
            for row in self._connection.execute(query, parameters):
                fields = []
                for position, value in enumerate(row):
                    try:
                        fields.append("\\N" if value is None else writers[position](value))
                    except InexactError as error:
                        fields.append(error.field)
                        key = ", ".join(str(row[n]) for n in key_positions) or None
                        issues.add(table.columns[position], error.reason, key)
                line = "\t".join(fields)
                lines.append(line)
                size += len(line)
                if size > BLOCK_BYTES:
                    yield _block(lines)
                    lines, size = [], 0
        except sqlite3.Error as error:
            raise LoadError(f"Reading the SQLite table {table.name} failed: {error}.") from None
        if lines:
            yield _block(lines)

    def _table(self, name: str) -> Table:
        columns = []
        key: list[tuple[int, str, bool]] = []
        query = f"pragma table_xinfo({quote(name)})"
        for _, column, declared, not_null, _, key_position, hidden in self._connection.execute(
            query
        ):
            if hidden == 1:
                continue
            kind = type_of(declared)
            columns.append(Column(column, column.lower(), declared, kind, not not_null))
            if key_position:
                key.append((key_position, column, bool(not_null)))
        # An INTEGER PRIMARY KEY of one column is the rowid; others may hold nulls if not declared.
        query = f"select count(*) from pragma_index_list({literal(name)}) where origin = 'pk'"
        ((indexes,),) = self._connection.execute(query)
        usable = bool(key) and (not indexes or all(never_null for _, _, never_null in key))
        names = tuple(column for _, column, _ in sorted(key)) if usable else ()
        return Table(name, name.lower(), tuple(columns), names)

    def _fitted(self, table: Table) -> Table:
        """The table with wider types where values do not fit those that are declared."""
        plain = {c.name: plain_sql(quote(c.name), c.type) for c in table.columns}
        odd = {
            name: f"{quote(name)} is not null and not coalesce({sql}, false)"
            for name, sql in plain.items()
            if sql is not None
        }
        if not odd:
            return table
        (found,) = self._rows(
            f"select {', '.join(f'max({sql})' for sql in odd.values())} from {quote(table.name)}",
            table,
        )
        asked = {name for name, is_odd in zip(odd, found, strict=True) if is_odd}
        types = {
            column.name: narrowest(column.type, partial(self._values, table, column))
            for column in table.columns
            if column.name in asked
        }
        columns = tuple(replace(c, type=types.get(c.name, c.type)) for c in table.columns)
        declared = {column.name: column.type for column in table.columns}
        return replace(table, columns=columns, detail={"declared": declared})

    def in_held_types(self, table: Table, held: Mapping[str, Type | None]) -> Table:
        columns = []
        for column in table.columns:
            kind = held.get(column.raw_name)
            if kind is not None and _would_change(kind, column):
                values = partial(self._values, table, column)
                # A blob has one type; where there is none, that it was declared one counts.
                decides = column.type != BINARY or next(values(), None) is not None
                column = replace(column, type=kind) if decides and fits(kind, values()) else column
            columns.append(column)
        return replace(table, columns=tuple(columns))

    def _values(self, table: Table, column: Column) -> Iterator[Value]:
        name = quote(column.name)
        query = f"select {name} from {quote(table.name)} where {name} is not null"
        return (value for (value,) in self._rows(query, table))

    def _rows(self, query: str, table: Table) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._connection.execute(query)
        except sqlite3.Error as error:
            raise LoadError(f"Reading the SQLite table {table.name} failed: {error}.") from None


def _after(scope: Scope) -> tuple[str, list[str]]:
    """The condition for rows after a cursor's value, and its parameters."""
    if scope.after is None:
        return "", []
    return f" where {quote(scope.after[0].name)} > ?", [scope.after[1]]


def _would_change(held: Type, column: Column) -> bool:
    """Whether the warehouse would need a wider type, or would spell its text in another way."""
    if column.hashed or held == column.type:
        return False
    wider = widest(held, column.type)
    return wider is not None and (held == TEXT or wider != held)


def _counting(column: Column, table: Table) -> Writer:
    """How a value becomes a field; of a column with a wider type, misfits raise InexactError."""
    write = writer(column.type)
    declared: dict[str, Type] = table.detail.get("declared", {})  # type: ignore[assignment]
    intended = declared.get(column.name, column.type)
    if intended == column.type:
        return write
    write_intended = writer(intended)
    reason = f"value does not fit {column.declared}, so the column is loaded as {column.type}"

    def counted(value: Value) -> str:
        try:
            field = write_intended(value)
        except MisfitError:
            raise InexactError(reason, write(value)) from None
        except InexactError:
            return write(value)
        # The hash of a value stays the same when another value needs a wider type.
        return field if column.hashed else write(value)

    return counted


def _decode(value: bytes) -> str | bytes:
    """Text; or bytes where it is not UTF-8, so that the type of the column decides."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _block(lines: list[str]) -> Block:
    return Block(("\n".join(lines) + "\n").encode(), len(lines))
