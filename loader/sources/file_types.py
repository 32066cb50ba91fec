"""The types of columns of text: what a schema file declares, or what every value allows."""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import duckdb
import yaml

from ..errors import LoadError
from ..schema import (
    BIGINT,
    BINARY,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    MAX_DECIMAL_DIGITS,
    SMALLINT,
    TEXT,
    TIMESTAMP,
    UNSIGNED_BIGINT,
    Kind,
    Type,
    decimal_type,
)
from ..wire import NANOSECONDS_CUT, REASONS, ZERO_DATE
from .nested import LOST

DIGITS = r"([0-9]+(\.[0-9]*)?|\.[0-9]+)"
DECIMAL_TEXT = rf"[+-]?{DIGITS}"
DOUBLE_TEXT = rf"[+-]?{DIGITS}([eE][+-]?[0-9]+)?"
DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9]"
PLAIN_TIMESTAMP = rf"{DAY}[ T]{CLOCK}:[0-5][0-9](\.[0-9]{{1,6}})?"
ZONE = r" ?(Z|[+-][0-9]{2}(:?[0-9]{2})?)"
ANY_TIMESTAMP = rf"{DAY}([ T]{CLOCK}(:[0-5][0-9](\.[0-9]{{1,6}})?)?({ZONE})?)?"
BYTES = r"(\\x|0x)?([0-9A-Fa-f]{2})*"

# What an inferred number prints as again; -0 would lose its sign.
PLAIN_NUMBER = r"-?(0|[1-9][0-9]*)(\.[0-9]+)?"
NEGATIVE_ZERO = r"-[0.]+"
# Decimals are inferred with one of two precisions, so that a greater amount tomorrow does not
# change the type of the column.
USUAL_DIGITS = 18


# DuckDB's name of a column's type -> the loader's; other types are loaded as text.
TYPES = {
    "BOOLEAN": BOOLEAN,
    "TINYINT": SMALLINT,
    "UTINYINT": SMALLINT,
    "SMALLINT": SMALLINT,
    "USMALLINT": INTEGER,
    "INTEGER": INTEGER,
    "UINTEGER": BIGINT,
    "BIGINT": BIGINT,
    "UBIGINT": UNSIGNED_BIGINT,
    "FLOAT": DOUBLE,
    "DOUBLE": DOUBLE,
    "DATE": DATE,
    "TIMESTAMP": TIMESTAMP,
    "TIMESTAMP_S": TIMESTAMP,
    "TIMESTAMP_MS": TIMESTAMP,
    "TIMESTAMP_NS": TIMESTAMP,
    "BLOB": BINARY,
}


@dataclass(frozen=True)
class Cell:
    """SQL of a column of a copied file: its value; a mark for a lost value (else null); and whether
    a part of it is lost, for a reason.
    """

    value: str
    mark: str = "null"
    lossy: str | None = None
    reason: str = NANOSECONDS_CUT


@dataclass(frozen=True)
class Declared:
    """A table in the schema file: its columns (None: infer them), and its key."""

    columns: dict[str, Type] | None
    key: tuple[str, ...]


def read_schema(path: Path) -> dict[str, Declared]:
    """The schema file, by table. Raises LoadError with the first mistake in it."""
    try:
        # Everything as text: a column may be called `no` or `2024`.
        content = yaml.load(path.read_text("utf-8"), Loader=yaml.BaseLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise LoadError(f"The schema file {path} cannot be read: {error}.") from None
    except yaml.YAMLError as error:
        raise LoadError(
            f"The schema file {path} is not YAML: {' '.join(str(error).split())}."
        ) from None
    tables = _mapping(content, f"The schema file {path}", {"tables"}).get("tables")
    where = f"The schema file {path}, tables"
    return {
        name: _declared(entry, f"The schema file {path}, table {name}")
        for name, entry in _mapping(tables, where).items()
    }


def _declared(entry: object, where: str) -> Declared:
    parts = _mapping(entry, where, {"columns", "key"})
    columns: dict[str, Type] | None = None
    if "columns" in parts:
        columns = {
            name: _type(text, f"{where}, column {name}")
            for name, text in _mapping(parts["columns"], f"{where}, columns").items()
        }
    key = parts.get("key", [])
    if isinstance(key, str):
        key = [key]
    if not isinstance(key, list) or not all(isinstance(name, str) for name in key):
        raise LoadError(f"{where}: write the key as a list of column names, as key: [id].")
    return Declared(columns, tuple(key))


def _mapping(value: object, where: str, known: Collection[str] = ()) -> dict[str, object]:
    if not isinstance(value, dict) or not value:
        raise LoadError(
            f"{where}: there must be names with something below each (tables: orders: columns:"
            " ordernumber: integer)."
        )
    for name in value:
        if known and name not in known:
            raise LoadError(f"{where}: {name} is not a key here; use {' or '.join(sorted(known))}.")
    return value


def _type(text: object, where: str) -> Type:
    match = re.fullmatch(r"([a-z]+)(?: *\( *(\d+) *, *(\d+) *\))?", str(text).strip().lower())
    kinds = {kind.value: kind for kind in Kind}
    if match and match[1] in kinds:
        kind = kinds[match[1]]
        if kind is not Kind.DECIMAL and not match[2]:
            return Type(kind)
        if kind is Kind.DECIMAL and match[2]:
            precision, scale = int(match[2]), int(match[3])
            if 0 < precision <= MAX_DECIMAL_DIGITS and scale <= precision:
                return Type(kind, precision, scale)
    words = ", ".join("decimal(p,s)" if k is Kind.DECIMAL else str(k.value) for k in Kind)
    raise LoadError(
        f"{where}: {text} is not a type; use one of {words} (p to {MAX_DECIMAL_DIGITS} digits, s of"
        " them after the point)."
    )


def value_sql(text: str, kind: Type) -> str:
    """DuckDB's SQL of a value of a type from its text; null when the text does not fit the type.

    The patterns are needed because a cast is lenient: it rounds, trims and reads 1e3 as an integer.
    """
    name = str(kind)
    match kind.kind:
        case Kind.TEXT:
            return text
        case Kind.BOOLEAN:
            return (
                f"case when lower({text}) in ('true', 't', '1') then true"
                f" when lower({text}) in ('false', 'f', '0') then false end"
            )
        case Kind.SMALLINT | Kind.INTEGER | Kind.BIGINT:
            return f"case when {_fits(text, '[+-]?[0-9]+')} then try_cast({text} as {name}) end"
        case Kind.DECIMAL:
            digits = f"length(rtrim(split_part({text}, '.', 2), '0')) <= {kind.scale}"
            fits = f"{_fits(text, DECIMAL_TEXT)} and {digits}"
            return f"case when {fits} then try_cast({text} as {name}) end"
        case Kind.DOUBLE:
            number = f"try_cast({text} as double)"
            return (
                f"case when {text} in ('NaN', 'Infinity', '-Infinity') then {number}"
                f" when {_fits(text, DOUBLE_TEXT)} and isfinite({number}) then {number} end"
            )
        case Kind.DATE:
            return f"case when {_fits(text, DAY)} then try_cast({_dated(text)} as date) end"
        case Kind.TIMESTAMP:
            # With a time zone it is an instant, stored in UTC.
            whole = f"case when length({text}) = 16 then {text} || ':00' else {text} end"
            instant = f"cast(try_cast({_dated(text)} as timestamptz) as timestamp)"
            return (
                f"case when not {_fits(text, ANY_TIMESTAMP)} then null"
                f" when regexp_matches(substr({text}, 11), '[Z+-]') then {instant}"
                f" else try_cast({_dated(whole)} as timestamp) end"
            )
        case Kind.BINARY:
            digits = f"regexp_replace({text}, '^(\\\\x|0x)', '')"
            return f"case when {_fits(text, BYTES)} then unhex({digits}) end"
    raise AssertionError(kind)


def of_text(column: str, kind: Type) -> Cell:
    """A column of text as a type."""
    mark = "null"
    if kind.kind in (Kind.DATE, Kind.TIMESTAMP):
        mark = f"case when {_fits(column, ZERO_DATE)} then '\\?Z' end"
    return Cell(value_sql(column, kind), mark)


def of_nested(column: str) -> Cell:
    """A column of JSON text, made of lists, structs or maps."""
    lost = f"chr({ord(LOST)})"
    kept = f"replace({column}, {lost}, '')"
    return Cell(kept, lossy=f"contains({column}, {lost})", reason=REASONS["I"])


def of_typed(column: str, type_name: str) -> tuple[Type, Cell]:
    """A column that DuckDB holds in a type of its own (Parquet), by the name of that type."""
    if type_name.startswith("DECIMAL("):
        precision, scale = type_name[8:-1].split(",")
        return decimal_type(int(precision), int(scale)), Cell(column)
    if type_name not in TYPES:
        return TEXT, Cell(f"cast({column} as varchar)")
    kind = TYPES[type_name]
    dated = kind.kind in (Kind.DATE, Kind.TIMESTAMP)
    return kind, Cell(
        f"cast({column} as {kind})",
        f"case when isinf({column}) then '\\?I' end" if dated else "null",
        f"epoch_ns({column}) % 1000 <> 0" if type_name == "TIMESTAMP_NS" else None,
    )


def _dated(text: str) -> str:
    """Null for the year 0000, which DuckDB reads as 1 BC."""
    return f"(case when {text} not like '0000%' then {text} end)"


def _fits(text: str, pattern: str) -> str:
    return f"coalesce(regexp_full_match({text}, '{pattern}'), false)"


# To infer a type: what must be true of each value of the column.
QUESTIONS: dict[str, Callable[[str], str]] = {
    "boolean": lambda c: f"bool_and({c} in ('true', 'false'))",
    "number": lambda c: f"bool_and({_fits(c, PLAIN_NUMBER)} and not {_fits(c, NEGATIVE_ZERO)})",
    "date": lambda c: f"bool_and({value_sql(c, DATE)} is not null)",
    "timestamp": lambda c: (
        f"bool_and({_fits(c, PLAIN_TIMESTAMP)} and {value_sql(c, TIMESTAMP)} is not null)"
    ),
}
# JSON marks numbers and texts itself, and a text of digits stays a text.
OF_JSON = {"number": {"number"}, "boolean": {"boolean"}, "text": {"date", "timestamp"}}


def infer(
    connection: duckdb.DuckDBPyConnection, relation: str, column: str, seen: Collection[str]
) -> Type:
    """The type that every value of a column of text has, and prints the same way again; else text.

    `seen` are the kinds of JSON value in it; none for CSV. A column without a value is text.
    """
    left = set(QUESTIONS) if not seen else set()
    if len(seen) == 1:
        left = OF_JSON.get(next(iter(seen)), set())
    # The first values rule out most types; only the others are tried on all values.
    for rows in (f"(select {column} from {relation} limit 1000)", relation):
        asked = sorted(left)
        if not asked:
            return TEXT
        questions = ", ".join(
            f"coalesce({QUESTIONS[name](column)}, {str(rows != relation).lower()})"
            for name in asked
        )
        query = f"select {questions} from {rows} where {column} is not null"
        answers = connection.execute(query).fetchone() or ()
        left = {name for name, answer in zip(asked, answers, strict=True) if answer}
    if "number" in left:
        return _number(connection, relation, column)
    return {"boolean": BOOLEAN, "date": DATE, "timestamp": TIMESTAMP}[left.pop()] if left else TEXT


def _number(connection: duckdb.DuckDBPyConnection, relation: str, column: str) -> Type:
    """The type of a column that holds only plain numbers."""
    whole = f"split_part(ltrim({column}, '-'), '.', 1)"
    (digits, scale) = connection.execute(
        f"select max(length({whole})), max(length(split_part({column}, '.', 2))) from {relation}"
    ).fetchone() or (0, 0)
    if scale == 0 and digits <= 19:
        (low, high) = connection.execute(
            f"select min(cast({column} as hugeint)), max(cast({column} as hugeint)) from {relation}"
        ).fetchone() or (0, 0)
        for kind, bits in ((INTEGER, 31), (BIGINT, 63)):
            if -(2**bits) <= low and high < 2**bits:
                return kind
    for precision in (USUAL_DIGITS, MAX_DECIMAL_DIGITS):
        if digits + scale <= precision:
            return Type(Kind.DECIMAL, precision, scale)
    return TEXT
