"""MySQL's types, and the SQL that spells their values as they travel."""

from collections.abc import Callable
from typing import Any

from ..schema import (
    BINARY,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGERS,
    SMALLINT,
    TEXT,
    TIMESTAMP,
    Column,
    Kind,
    Table,
    Type,
    decimal_type,
    integer_type,
)
from ..wire import binary_field, double_sql, escape

INTEGER_BITS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
TEXTS = {"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set", "json"}
BINARIES = {"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "vector"}
GEOMETRIES = {
    "geometry",
    "point",
    "linestring",
    "polygon",
    "multipoint",
    "multilinestring",
    "multipolygon",
    "geometrycollection",
    "geomcollection",
}

NUMBERS = (Kind.SMALLINT, Kind.INTEGER, Kind.BIGINT, Kind.DECIMAL)
SEPARATORS = (("\\t", "\\\\t"), ("\\n", "\\\\n"), ("\\r", "\\\\r"))

SPLIT = "substring_index(substring_index(concat({text}, '{mark}'), '{mark}', {n}), '{mark}', -1)"


def type_of(base: str, declared: str, precision: int | str | None, scale: int | str | None) -> Type:
    """The warehouse type of a MySQL type; unknown types arrive as text."""
    unsigned = "unsigned" in declared
    if base in INTEGER_BITS:
        return integer_type(INTEGER_BITS[base], unsigned=unsigned)
    if base == "bit":
        bits = int(precision or 1)
        return BOOLEAN if bits == 1 else integer_type(bits, unsigned=True)
    if base == "decimal":
        return decimal_type(int(precision or 0), int(scale or 0))
    if base in BINARIES or base in GEOMETRIES:
        return BINARY
    others = {
        "float": DOUBLE,
        "double": DOUBLE,
        "year": SMALLINT,
        "date": DATE,
        "datetime": TIMESTAMP,
        "timestamp": TIMESTAMP,
    }
    return others.get(base, TEXT)


def range_column(table: Table) -> str | None:
    """The leading key column, if it is an integer that can be cut into ranges."""
    if not table.key:
        return None
    first = table.key_columns[0]
    return (
        first.name
        if first.type in INTEGERS and detail_of(table, first)["base"] in INTEGER_BITS
        else None
    )


def _plain_text(column: Column, table: Table) -> str:
    """SQL for the spelling of a value, unescaped; null stays null, a lost value becomes a mark."""
    name, detail = quote(column.name), detail_of(table, column)
    base = detail["base"]
    if column.type.kind is Kind.BOOLEAN:
        return f"if({name} is null, null, if({name} = b'1', 't', 'f'))"
    if base == "bit" or base == "year" or "zerofill" in column.declared:
        return f"({name} + 0)"
    if column.type is DOUBLE:
        return _double(name, is_float=base == "float")
    if base in ("date", "datetime", "timestamp"):
        # Twice as fast as a cast, which comes to the same.
        text = f"concat({name}, '')"
        if base != "date" and detail["fraction"]:
            text = f"trim(trailing '.' from trim(trailing '0' from {text}))"
        return _possible_date(name, text)
    if base in GEOMETRIES:
        return _geometry(name)
    if column.type is TEXT and base != "decimal":
        if detail.get("text", ("",))[0] == "utf8mb4":
            return name
        cast = name if base in TEXTS - {"json"} else f"cast({name} as char)"
        return f"convert({cast} using utf8mb4)"
    return name


def _geometry(name: str) -> str:
    """WKB; with a reference system EWKB, as PostGIS writes it: flag and SRID after the type."""
    wkb, srid = f"st_aswkb({name})", f"st_srid({name})"
    ewkb = f"insert({wkb}, 5, 1, concat(x'20', reverse(unhex(lpad(hex({srid}), 8, '0')))))"
    return f"if({srid} = 0, {wkb}, {ewkb})"


def _possible_date(name: str, text: str) -> str:
    """`text`, or a mark for a zero or partial date, the year 0, a day that no such month has."""
    # Most days are in each month, and take only these three comparisons.
    plain = f"day({name}) between 1 and 28 and month({name}) > 0 and year({name}) > 0"
    impossible = (
        f"{name} is not null and (year({name}) = 0 or month({name}) = 0 or day({name}) = 0"
        f" or to_days(concat({name}, '')) is null)"
    )
    return f"if({plain}, {text}, if({impossible}, '\\\\?Z', {text}))"


def _double(name: str, *, is_float: bool) -> str:
    """The shortest spelling of a double, or of the double that a float is.

    MySQL spells a column of doubles in full. What it calculates it cuts at 22 characters, by
    leaving out digits: that is room for a float without its sign.
    """
    signed = f"concat({name} * 1e0, '')" if is_float else f"concat({name}, '')"
    text = f"concat(abs({name} * 1e0), '')" if is_float else f"trim(leading '-' from {signed})"
    spelled = double_sql(text, split=SPLIT, integer="signed")
    return f"if({name} is null, null, concat(if({signed} like '-%', '-', ''), {spelled}))"


def line_sql(table: Table, *, escapes: bool = True) -> str:
    """SQL for the line of a row."""
    fields = (_line_field(column, table, escapes=escapes) for column in table.columns)
    return f"concat_ws('\\t', {', '.join(fields)})"


def lines_sql(table: Table) -> str:
    """SQL for all lines of a group in the key's order, so that equal rows give an equal digest."""
    order = ", ".join(quote(name) for name in table.key)
    return f"group_concat({line_sql(table)} order by {order} separator '\\n')"


def unsorted_lines_sql(table: Table, *, escapes: bool) -> str:
    """The same where the rows come in that order already.

    Without `escapes` the tabs and line breaks of a text stay: see mysql_blocks.py.
    """
    return f"group_concat({line_sql(table, escapes=escapes)} separator '\\n')"


def _line_field(column: Column, table: Table, *, escapes: bool) -> str:
    """SQL for the field of a line: the spelling of the value, escaped, or the mark of null."""
    text = _plain_text(column, table)
    if column.type.kind in NUMBERS and not column.nullable:
        return text
    if column.type is BINARY:
        text = f"concat('\\\\x5Cx', lower(hex({text})))"
    elif column.type is TEXT:
        # As bytes, in which the server finds a character faster; UTF-8 has it nowhere else.
        text = f"replace(cast({text} as binary), '\\\\', '\\\\x5C')"
        for plain, escaped in SEPARATORS if escapes else ():
            text = f"replace({text}, '{plain}', '{escaped}')"
    return f"coalesce({text}, '\\\\N')"


def value_sql(column: Column, table: Table) -> str:
    """SQL for a value that `writer` turns into its field."""
    text = _plain_text(column, table)
    plain = column.type is BINARY or (
        column.type is TEXT and detail_of(table, column)["base"] != "decimal"
    )
    return text if plain else f"cast({text} as char)"


def writer(column: Column) -> Callable[[Any], str]:
    """How a fetched value that is not null becomes the field of a line."""
    if column.type is BINARY:
        return lambda value: binary_field(as_bytes(value))
    if column.type is TEXT:
        return lambda value: escape(as_bytes(value).decode())
    return lambda value: as_bytes(value).decode()


def detail_of(table: Table, column: Column) -> dict[str, Any]:
    """What the catalog says of a column: base type, bytes of length, digits of a fraction."""
    columns: Any = table.detail["columns"]
    detail: dict[str, Any] = columns[column.name]
    return detail


def as_bytes(value: str | bytes) -> bytes:
    """A fetched text in UTF-8, or bytes as they are."""
    return value.encode() if isinstance(value, str) else value


def quote(name: str) -> str:
    """An identifier in MySQL's SQL."""
    return "`" + name.replace("`", "``") + "`"
