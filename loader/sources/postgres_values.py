"""PostgreSQL's types, and the SQL that spells their values as they travel."""

from psycopg import sql

from ..dialects.postgres import SPLIT
from ..schema import (
    BIGINT,
    BINARY,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    SMALLINT,
    TEXT,
    TIMESTAMP,
    Column,
    Table,
    Type,
    decimal_type,
    integer_type,
)
from ..wire import double_sql

TYPES = {
    "bool": BOOLEAN,
    "int2": SMALLINT,
    "int4": INTEGER,
    "int8": BIGINT,
    "oid": BIGINT,
    "float4": DOUBLE,
    "float8": DOUBLE,
    "date": DATE,
    "timestamp": TIMESTAMP,
    "timestamptz": TIMESTAMP,
    "bytea": BINARY,
    # Two decimals, whatever the currency; its text depends on the locale, its value does not.
    "money": Type(decimal_type(19, 2).kind, 19, 2),
}

SIZED = ("varchar", "bpchar")


def type_of(base: str, modifier: int | None) -> Type:
    """The warehouse type of a base type; unknown types arrive as the server prints them."""
    if base == "numeric":
        if modifier is None or modifier < 4:
            return TEXT
        precision = ((modifier - 4) >> 16) & 0xFFFF
        # Since 15 the scale is a signed 11-bit number.
        scale = (((modifier - 4) & 0x7FF) ^ 1024) - 1024
        return decimal_type(precision, scale)
    if base == "bit":
        bits = modifier or 1
        if bits == 1:
            return BOOLEAN
        return integer_type(bits, unsigned=True) if bits <= 64 else TEXT
    return TYPES.get(base, TEXT)


def field(column: Column, table: Table) -> sql.Composable:
    """SQL for the spelling of a value; COPY escapes it."""
    name = sql.Identifier(column.name)
    base = table.detail[column.name]
    if base in ("float4", "float8"):
        spelled = double_sql("abs(cast({0} as float8))::text", split=SPLIT, integer="integer")
        return sql.SQL(
            "case when {0} is null then null"
            " when {0} in ('NaN', 'Infinity', '-Infinity') then {0}::text"
            f" else (case when {{0}}::text like '-%' then '-' else '' end) || {spelled} end"
        ).format(name)
    if base == "timestamptz":
        return sql.SQL("{} at time zone 'UTC'").format(name)
    if base == "money":
        return sql.SQL("{}::numeric(19, 2)").format(name)
    if base == "bit" and column.type is BOOLEAN:
        return sql.SQL("{} = b'1'").format(name)
    if base == "bit" and column.type is not TEXT:
        if column.type.precision:  # 64 bits: the top one would read as a sign
            return sql.SQL(
                "case when {0}::bigint < 0 then {0}::bigint::numeric + 18446744073709551616"
                " else {0}::bigint end"
            ).format(name)
        return sql.SQL("{}::bigint").format(name)
    return name
