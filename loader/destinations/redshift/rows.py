"""How rows are sent, digested and fetched: Python on one side and Redshift's SQL on the other."""

import hashlib
from collections.abc import Sequence
from typing import Any

from ...schema import Kind, Table, Type
from ...wire import NULL, Tally, binary_field, double_field, escape, unescape

# The most that a varchar can hold.
TEXT_BYTES = 65_535
CHARACTER_BYTES = 4
# More than the text of any number.
NUMBER_BYTES = 50
# COPY accepts rows of 4 MB; in an INSERT a value is hex text in a varchar.
BINARY_BYTES = 4_000_000
INSERTED_BINARY_BYTES = TEXT_BYTES // 2
# Bytes of a binary value that are digested at a time: their hex must fit into a varchar.
DIGESTED_BYTES = 32_000


class RowTally(Tally):
    """Rows in any order: the sums of their digests, as SQL calculates them too.

    In a line that is digested, texts and binaries are replaced by their own digests, so that the
    line stays short.
    """

    def __init__(self, table: Table) -> None:
        super().__init__()
        self.sums = [0, 0]
        self.longest_binary = 0
        self._digested = [
            (n, column.type.kind)
            for n, column in enumerate(table.columns)
            if column.type.kind in (Kind.TEXT, Kind.BINARY)
        ]

    def add(self, data: bytes | memoryview, rows: int = 0) -> None:
        """Count some more whole lines."""
        self.rows += rows
        for line in bytes(data).split(b"\n")[:-1]:
            fields = line.split(b"\t")
            for n, kind in self._digested:
                if fields[n] != NULL:
                    fields[n] = self._short(fields[n], kind)
            line = b"\t".join(fields)
            digest = int.from_bytes(hashlib.md5(line, usedforsecurity=False).digest(), "big")
            self.size += len(line)
            # Two sums, each of fifteen of the 32 hex digits.
            self.sums[0] += digest >> 68
            self.sums[1] += (digest >> 8) & (2**60 - 1)

    def _short(self, field: bytes, kind: Kind) -> bytes:
        if kind is Kind.TEXT:
            return _md5(unescape(field))
        digits = field[len(binary_field(b"")) :]
        self.longest_binary = max(self.longest_binary, len(digits) // 2)
        step = 2 * DIGESTED_BYTES
        return b"".join(_md5(digits[n : n + step]) for n in range(0, max(len(digits), 1), step))

    @property
    def digest(self) -> str:
        """The sums so far."""
        return f"{self.sums[0]} {self.sums[1]}"


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).hexdigest().encode()


def line_sql(fields: Sequence[tuple[str, Type]], longest_binary: int = BINARY_BYTES) -> str:
    """SQL of the line that RowTally builds from the same values."""
    null = "chr(92) || 'N'"
    return " || chr(9) || ".join(
        f"coalesce({_short_sql(value, kind, longest_binary)}, {null})" for value, kind in fields
    )


def _short_sql(value: str, kind: Type, longest_binary: int) -> str:
    """SQL of a value in such a line."""
    if kind.kind is Kind.TEXT:
        return f"md5({value})"
    if kind.kind is Kind.BINARY:
        first, *others = _hex_sql(value, longest_binary)
        ends = range(DIGESTED_BYTES, BINARY_BYTES, DIGESTED_BYTES)
        return f"md5({first})" + "".join(
            f" || case when octet_length({value}) > {end} then md5({part}) else '' end"
            for end, part in zip(ends, others, strict=False)
        )
    return wire_sql(value, kind)


def _hex_sql(value: str, longest: int) -> list[str]:
    """SQL of a binary value's hex, in as many parts as the longest value needs."""
    return [
        f"lower(to_hex(substring({value}, {start}, {DIGESTED_BYTES})))"
        for start in range(1, max(longest, 1) + 1, DIGESTED_BYTES)
    ]


def wire_sql(value: str, kind: Type) -> str:
    """SQL of a value as it was sent, unescaped; doubles only as a distinct text."""
    if kind.kind is Kind.TEXT:
        return value
    if kind.kind is Kind.BOOLEAN:
        return f"case when {value} then 't' when not {value} then 'f' end"
    if kind.kind in (Kind.DATE, Kind.TIMESTAMP):
        text = f"to_char({value}, 'YYYY-MM-DD')"
        if kind.kind is Kind.TIMESTAMP:
            digits = f"to_char({value}, 'YYYY-MM-DD HH24:MI:SS.US')"
            text = f"rtrim(rtrim({digits}, '0'), '.')"
        return f"{text} || case when {value} < date '0001-01-01' then ' BC' else '' end"
    return f"cast({value} as character varying({NUMBER_BYTES}))"


def fetched_sql(value: str, kind: Type, longest: int) -> list[str]:
    """SQL of a value as the driver returns it: one part, or several for a binary value."""
    if kind.kind is Kind.BINARY:
        return _hex_sql(value, longest)
    return [value if kind.kind is Kind.DOUBLE else wire_sql(value, kind)]


def field_of(parts: list[Any], kind: Kind) -> bytes:
    """A value from the driver as wire text."""
    if parts[0] is None:
        return NULL
    if kind is Kind.DOUBLE:
        return double_field(parts[0]).encode()
    if kind is Kind.BINARY:
        return (binary_field(b"") + "".join(filter(None, parts))).encode()
    return escape(parts[0]).encode()


def parameters_of(line: bytes, table: Table) -> list[str | None]:
    """The fields of a line as text that can be cast."""
    found: list[str | None] = []
    for field, column in zip(line.split(b"\t"), table.columns, strict=True):
        if field == NULL:
            found.append(None)
        elif column.type.kind is Kind.BINARY:
            found.append(field[len(binary_field(b"")) :].decode())
        else:
            found.append(unescape(field).decode())
    return found
