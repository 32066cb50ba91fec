"""How DuckDB makes a value of a field: what Arrow reads, and what DuckDB casts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from ..schema import Kind, Table, Type
from ..wire import ESCAPES, Block, Tally, has_escapes
from .arrow import fields_of


@dataclass(frozen=True)
class Chunk:
    """Some rows as fields (None where there are none), and the SQL of their values."""

    rows: pa.Table | None
    values: str
    tally: Tally
    has_backslash: bool


def read_chunk(table: Table, blocks: Iterator[Block], type_name: Callable[[Type], str]) -> Chunk:
    """All rows of these blocks together: one statement for them costs less than several."""
    names = [f"c{n}" for n in range(len(table.columns))]
    kinds = {n: arrow_type(c.type) for n, c in zip(names, table.columns, strict=True)}
    tally, parts = Tally(), []
    value, has_backslash = plain_value, False
    for block in blocks:
        tally.add(block.data, block.rows)
        parts.append(fields_of(block, kinds))
        has_backslash = has_backslash or b"\\" in block.data
        if has_backslash and has_escapes(block.data):
            value = escaped_value
    values = ", ".join(
        value(name, column.type, type_name(column.type))
        for name, column in zip(names, table.columns, strict=True)
    )
    return Chunk(pa.concat_tables(parts) if parts else None, values, tally, has_backslash)


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
