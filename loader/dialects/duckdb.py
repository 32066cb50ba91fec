"""DuckDB, which holds the warehouse on one side and copies of files on the other."""

from collections.abc import Iterator, Sequence

import duckdb

from ..schema import Kind, Type
from ..wire import double_sql
from .standard import escaped_sql

SETTINGS = (
    # Rows must come out in the order in which they went in.
    "preserve_insertion_order = true",
    # Offsets of 64 bits, which `lines_of` reads.
    "arrow_large_buffer_size = true",
    "enable_progress_bar = false",
    # A block is too little work to share, and the other processors have the other side to serve.
    "threads = 1",
)
SPLIT = "split_part({text}, '{mark}', {n})"


def wire_sql(name: str, kind: Type) -> str:
    """SQL that renders a stored value for the wire; null stays null."""
    if kind.kind is Kind.TEXT:
        return escaped_sql(name)
    if kind.kind is Kind.BOOLEAN:
        return f"case when {name} then 't' when not {name} then 'f' end"
    if kind.kind is Kind.BINARY:
        return f"'\\x5Cx' || lower(hex({name}))"
    if kind.kind in (Kind.DATE, Kind.TIMESTAMP):
        text = f"cast({name} as varchar)"
        era = f"regexp_replace({text}, '^(.*) \\(BC\\)(.*)$', '\\1\\2 BC')"
        return f"case when {name} < date '0001-01-01' then {era} else {text} end"
    if kind.kind is Kind.DECIMAL and kind.scale == kind.precision:
        # DuckDB leaves out the zero before the point where the type has no digit there.
        return f"regexp_replace(cast({name} as varchar), '^(-?)\\.', '\\10.')"
    if kind.kind is Kind.DOUBLE:
        spelled = double_sql(f"cast(abs({name}) as varchar)", split=SPLIT, integer="integer")
        return (
            f"case when isnan({name}) then 'NaN' when {name} = 'inf' then 'Infinity'"
            f" when {name} = '-inf' then '-Infinity' when {name} is not null then"
            f" (case when cast({name} as varchar)[1] = '-' then '-' else '' end) || {spelled} end"
        )
    return f"cast({name} as varchar)"


def field_sql(name: str, kind: Type) -> str:
    """The same with null spelled as in a line."""
    return f"coalesce({wire_sql(name, kind)}, '\\N')"


def line_sql(fields: Sequence[str]) -> str:
    """SQL of a whole line from the SQL of its fields; a null field must be spelled already."""
    # One call, because a chain of operators is too deep from 500 columns on.
    return f"concat_ws(chr(9), {', '.join(fields)}) || chr(10)"


def plain_line_sql(values: Sequence[tuple[str, Type]]) -> str:
    """The same from names and types, and faster, to be compared with lines without a backslash.

    Such a line has no null and nothing that is escaped. A row that has makes another line: with a
    backslash, without the digits of a value, or with a tab or a line break too much.
    """
    fields = [
        f"coalesce({name}, '\\N')" if kind.kind is Kind.TEXT else wire_sql(name, kind)
        for name, kind in values
    ]
    return f"concat({', chr(9), '.join(fields)}, chr(10))"


def lines_of(
    connection: duckdb.DuckDBPyConnection, query: str, rows_per_batch: int
) -> Iterator[tuple[memoryview, int]]:
    """The lines of a query whose first column is `line_sql`, some rows at a time.

    Without a Python object for each value; a view is valid until the next one is asked for.
    """
    for batch in connection.sql(query).to_arrow_reader(rows_per_batch):
        lines = batch.column(0)
        _, offsets, data = lines.buffers()
        if data is not None:
            ends = memoryview(offsets).cast("q")
            first, last = ends[lines.offset], ends[lines.offset + len(lines)]
            yield memoryview(data)[first:last], len(lines)


def said(error: Exception) -> str:
    """What DuckDB or Arrow says, in one line without its full stop."""
    return " ".join(str(error).split()).rstrip(".")
