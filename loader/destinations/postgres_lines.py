"""Stored rows as lines in PostgreSQL, and the row behind an error of COPY."""

import re
from collections.abc import Sequence
from itertools import islice

import psycopg

from ..dialects.postgres import SPLIT
from ..dialects.standard import escaped_sql, quote
from ..schema import Kind, Table, Type
from ..wire import double_sql, key_of

# A function takes at most a hundred.
MOST_ARGUMENTS = 90
# Rows that COPY writes together.
ROWS_AT_ONCE = 1_001


def widest_row(error: psycopg.Error, table: Table, sent: Sequence[bytes]) -> str:
    """Which of the rows that were sent is too wide for the server, in words.

    COPY writes up to a thousand rows at once, so the line that it names is only the last of them.
    """
    found = re.search(r"^COPY .*, line (\d+)", error.diag.context or "")
    if found is None or any(column.hashed for column in table.key_columns):
        return ""
    last = int(found[1])
    lines = (line for block in sent for line in block.split(b"\n")[:-1])
    rows = (line.split(b"\t") for line in islice(lines, max(0, last - ROWS_AT_ONCE), last))
    # A value moves out of the row, but for 18 bytes that say where it is.
    widest = max(rows, key=lambda fields: sum(min(len(f), 18) for f in fields), default=None)
    key = key_of(widest, table) if widest is not None else None
    return f" (for example where the key is {key})" if key else ""


def line_sql(table: Table, *, escapes: bool, nulls: bool) -> str:
    """SQL that renders a stored row as it was sent, without its newline.

    `escapes`: some of the text was sent with escapes; without it, no text needs any. `nulls`: some
    fields may be null; without it, the text of a value need not be one of its own.
    """
    fields = []
    for column in table.columns:
        field = field_sql(quote(column.raw_name), column.type)
        if column.type.kind is Kind.TEXT and escapes:
            field = escaped_sql(field)
        elif column.type.kind is Kind.BINARY:
            field = f"'\\x5Cx' || encode({field}, 'hex')"
        elif column.type.kind is Kind.BOOLEAN:
            field = f"case when {field} then 't' when not {field} then 'f' end"
        fields.append(f"coalesce(({field})::text, '\\N')" if nulls else field)
    several = [fields[n : n + MOST_ARGUMENTS] for n in range(0, len(fields), MOST_ARGUMENTS)]
    # At most 1,600 columns, so that this is enough.
    parts = [f"concat_ws(E'\\t', {', '.join(some)})" for some in several]
    return parts[0] if len(parts) == 1 else f"concat_ws(E'\\t', {', '.join(parts)})"


def field_sql(name: str, kind: Type) -> str:
    """SQL that renders a stored value as it was sent; COPY does the escaping."""
    if kind.kind is Kind.DOUBLE:
        spelled = double_sql(f"abs({name})::text", split=SPLIT, integer="integer")
        return (
            f"case when {name} in ('NaN', 'Infinity', '-Infinity') then {name}::text"
            f" when {name} is not null then"
            f" (case when {name}::text like '-%' then '-' else '' end) || {spelled} end"
        )
    return name
