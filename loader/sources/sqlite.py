"""SQLite: one read transaction. Each value is checked, because the file enforces no types."""

import re
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from urllib.parse import quote as percent_encoded

from ..dialects.standard import literal, quote
from ..errors import LoadError
from ..ranges import Scope
from ..schema import (
    BIGINT,
    BINARY,
    BOOLEAN,
    DATE,
    DOUBLE,
    TEXT,
    TIMESTAMP,
    Column,
    Kind,
    Table,
    Type,
    decimal_type,
)
from ..urls import SourceUrl
from ..wire import BLOCK_BYTES, Block, Issues, binary_field, double_field, escape
from .base import Source, Wanted

Value = int | float | str | bytes | None

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?\s*(Z|[+-]\d\d:?\d\d)?")


class MisfitError(ValueError):
    """A value that does not fit the declared type of its column."""


def open_source(url: SourceUrl) -> "SQLiteSource":
    """Open the file read-only. Raises LoadError in one sentence."""
    return SQLiteSource(url)


class SQLiteSource(Source):
    """One connection in one read transaction."""

    marks_infinity = False

    def __init__(self, url: SourceUrl) -> None:
        self.url = url
        self.warnings: list[str] = []
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
                "select name, type from sqlite_master where type in ('table', 'view')"
                " and name not like 'sqlite\\_%' escape '\\' order by name"
            ).fetchall()
            is_view = {str(name): kind == "view" for name, kind in rows}
            chosen = wanted(is_view)
            tables = []
            for name in is_view:
                if name in chosen or not is_view[name]:
                    tables.append(self._table(name))
        except sqlite3.Error as error:
            raise LoadError(f"The SQLite table {name} cannot be read: {error}.") from None
        return tables

    def read(self, table: Table, scope: Scope, issues: Issues) -> Iterator[Block]:
        where, parameters = "", []
        if scope.after is not None:
            where, parameters = f" where {quote(scope.after[0].name)} > ?", [scope.after[1]]
        names = ", ".join(quote(column.name) for column in table.columns)
        writers = [_writer(column.type) for column in table.columns]
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
                    except MisfitError:
                        column = table.columns[position]
                        key = ", ".join(str(row[n]) for n in key_positions) or None
                        reason = (
                            f"value does not fit {column.declared or column.type}, loaded as null"
                        )
                        issues.add(column, reason, key)
                        fields.append("\\N")
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
            kind = _type_of(declared)
            columns.append(Column(column, column.lower(), declared, kind, not not_null))
            if key_position:
                key.append((key_position, column, bool(not_null)))
        # An INTEGER PRIMARY KEY of one column is the rowid; others may hold nulls if not declared.
        query = f"select count(*) from pragma_index_list({literal(name)}) where origin = 'pk'"
        ((indexes,),) = self._connection.execute(query)
        usable = bool(key) and (not indexes or all(never_null for _, _, never_null in key))
        names = tuple(column for _, column, _ in sorted(key)) if usable else ()
        return Table(name, name.lower(), tuple(columns), names)


def _type_of(declared: str) -> Type:
    """The type that a declaration means; single values may have another one."""
    base, _, arguments = declared.lower().partition("(")
    base = base.strip()
    digits = [int(number) for number in re.findall(r"\d+", arguments)]
    if base in ("decimal", "numeric"):
        return decimal_type(digits[0], digits[1] if len(digits) > 1 else 0) if digits else TEXT
    if base in ("bool", "boolean"):
        return BOOLEAN
    if base == "date":
        return DATE
    if base in ("datetime", "timestamp", "timestamptz"):
        return TIMESTAMP
    # SQLite's rules of affinity, in their order; its integers always have 64 bits.
    if "int" in base:
        return BIGINT
    if any(word in base for word in ("char", "clob", "text")):
        return TEXT
    if "blob" in base or base in ("binary", "varbinary"):
        return BINARY
    if any(word in base for word in ("real", "floa", "doub")):
        return DOUBLE
    return TEXT


def _writer(kind: Type) -> Callable[[Value], str]:
    if kind.kind is Kind.DECIMAL:
        return lambda value: _decimal(value, kind)
    return {
        Kind.BIGINT: _integer,
        Kind.BOOLEAN: _boolean,
        Kind.DATE: _date,
        Kind.TIMESTAMP: _timestamp,
        Kind.DOUBLE: _double,
        Kind.BINARY: _binary,
        Kind.TEXT: _text,
    }[kind.kind]


def _integer(value: Value) -> str:
    if isinstance(value, int):
        return str(value)
    raise MisfitError


def _boolean(value: Value) -> str:
    if value in (0, 1) and isinstance(value, int):
        return "t" if value else "f"
    raise MisfitError


def _decimal(value: Value, kind: Type) -> str:
    """A decimal of the declared scale. SQLite stores fractions as doubles of 15 decimal digits."""
    if isinstance(value, float):
        text = format(value, ".15g")
    elif isinstance(value, int | str):
        text = str(value)
    else:
        raise MisfitError
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise MisfitError from None
    if not number.is_finite():
        raise MisfitError
    _, digits, exponent = number.normalize().as_tuple()
    if -int(exponent) > kind.scale or len(digits) + int(exponent) > kind.precision - kind.scale:
        raise MisfitError
    shown = format(number, f".{kind.scale}f")
    return shown.lstrip("-") if not number else shown


def _double(value: Value) -> str:
    if isinstance(value, int):
        if int(float(value)) != value:
            raise MisfitError
        value = float(value)
    if isinstance(value, float):
        return double_field(value)
    raise MisfitError


def _date(value: Value) -> str:
    text = _known_text(value, _DATE)
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise MisfitError from None


def _timestamp(value: Value) -> str:
    if isinstance(value, str) and _DATE.fullmatch(value):
        return _date(value) + " 00:00:00"
    try:
        moment = datetime.fromisoformat(_known_text(value, _TIMESTAMP))
    except ValueError:
        raise MisfitError from None
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    shown = moment.isoformat(" ")
    return shown.rstrip("0") if "." in shown else shown


def _known_text(value: Value, pattern: re.Pattern[str]) -> str:
    if isinstance(value, str) and pattern.fullmatch(value):
        return value
    raise MisfitError


def _binary(value: Value) -> str:
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return binary_field(value)
    raise MisfitError


def _text(value: Value) -> str:
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise MisfitError from None
    return escape(value) if isinstance(value, str) else repr(value)


def _decode(value: bytes) -> str | bytes:
    """Text; or bytes where it is not UTF-8, so that the type of the column decides."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _block(lines: list[str]) -> Block:
    return Block(("\n".join(lines) + "\n").encode(), len(lines))
