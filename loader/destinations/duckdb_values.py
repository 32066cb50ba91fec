"""How DuckDB makes a value of a field: what Arrow reads, and what DuckDB casts."""

import pyarrow as pa

from ..schema import Kind, Type
from ..wire import ESCAPES


def arrow_type(kind: Type) -> pa.DataType:
    """The type in which Arrow reads a field; text where DuckDB is to cast it."""
    if kind.kind is Kind.DECIMAL:
        return pa.decimal128(kind.precision, kind.scale)
    plain = {Kind.SMALLINT: pa.int16(), Kind.INTEGER: pa.int32(), Kind.BIGINT: pa.int64()}
    return plain.get(kind.kind, pa.large_string())


def plain_value(name: str, kind: Type, type_name: str) -> str:
    """SQL of a staged value from its field, when the block has no escapes."""
    if arrow_type(kind) != pa.large_string() or kind.kind is Kind.TEXT:
        return name
    if kind.kind is Kind.BOOLEAN:
        return f"{name} = 't'"
    if kind.kind is Kind.BINARY:
        return f"unhex(substr({name}, 6))"
    if kind.kind in (Kind.DATE, Kind.TIMESTAMP):
        # DuckDB expects the era after the date, in parentheses.
        era = f"regexp_replace({name}, '^(\\S+)(.*) BC$', '\\1 (BC)\\2')"
        return f"cast(case when {name} like '%C' then {era} else {name} end as {type_name})"
    return f"cast({name} as {type_name})"


def escaped_value(name: str, kind: Type, type_name: str) -> str:
    """The same when the block has escapes; the backslash itself is replaced last."""
    if kind.kind is not Kind.TEXT:
        return plain_value(name, kind, type_name)
    for plain, escaped in reversed(ESCAPES.items()):
        name = f"replace({name}, '{escaped}', chr({ord(plain)}))"
    return name
