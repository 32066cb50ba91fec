"""Rows on the wire: lines of text, as PostgreSQL's COPY reads them, with one spelling per value.

A line is a row, tabs separate its fields, `\\N` is null. In a field a backslash is written
`\\x5C`, a newline `\\n`, a carriage return `\\r`, a tab `\\t`; nothing else is escaped. Every value
has exactly one spelling:

    boolean    t or f
    integers   digits
    decimal    all digits of the scale
    double     0.<digits>e<exponent>, the shortest digits that give the same double;
               0, -0, NaN, Infinity, -Infinity
    date       YYYY-MM-DD[ BC]
    timestamp  YYYY-MM-DD HH:MM:SS[.ffffff without trailing zeros][ BC]
    text       its characters in UTF-8
    binary     \\x5Cx and lower-case hex

So what was sent and what the warehouse holds can be compared byte by byte: a destination renders
the stored rows in this form again, in the order in which they were staged.

A value that no warehouse type can hold is sent as `\\?` and a letter (see REASONS); the pipeline
turns it into null and counts it. Such a mark cannot be confused with data, whose backslashes are
written `\\x5C`.
"""

import hashlib
import hmac
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .schema import Column, Kind, Table

NULL = b"\\N"
# About how many bytes a block has.
BLOCK_BYTES = 1_000_000
# About how many bytes are staged before they are read back.
CHUNK_BYTES = 8_000_000
REASONS = {
    "Z": "zero or partial date, loaded as null",
    "I": "infinite or not a number, loaded as null",
}
# Dates in dumps and copies of MySQL that do not exist in the calendar: reason Z.
ZERO_DATE = r"(0000-[0-9]{2}-[0-9]{2}|[0-9]{4}-00-[0-9]{2}|[0-9]{4}-[0-9]{2}-00)([ T].*)?"
NANOSECONDS_CUT = "nanoseconds cut off a timestamp"
NUL_REMOVED = "NUL character removed from text"
TOO_LONG = "longer than {:,} bytes, loaded as null"
# Characters of the hash that replaces a value.
HASH_LENGTH = 64

# The backslash is replaced first; to unescape, go through them in reverse.
ESCAPES = {"\\": "\\x5C", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPES = str.maketrans(ESCAPES)


@dataclass(frozen=True)
class Block:
    """Some rows of a table: `data` holds whole lines, each with its newline."""

    data: bytes
    rows: int

    @classmethod
    def of(cls, data: bytes) -> "Block":
        """A block of whole lines, counted."""
        return cls(data, data.count(b"\n"))


def chunks(blocks: Iterator[Block]) -> Iterator[Iterator[Block]]:
    """The same blocks in chunks of a few megabytes; use up one before asking for the next."""

    def chunk(block: Block | None) -> Iterator[Block]:
        size = 0
        while block is not None:
            yield block
            size += len(block.data)
            block = next(blocks, None) if size < CHUNK_BYTES else None

    for first in blocks:
        yield chunk(first)


def escape(text: str) -> str:
    """Text as it is written in a field."""
    return text.translate(_ESCAPES)


def binary_field(value: bytes) -> str:
    """Bytes as they are written in a field."""
    return "\\x5Cx" + value.hex()


def double_field(value: float) -> str:
    """A double in its only spelling, which `double_sql` builds inside a database."""
    if not math.isfinite(value):
        return "NaN" if value != value else ("Infinity" if value > 0 else "-Infinity")
    sign = "-" if math.copysign(1.0, value) < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    leading = len(whole) + len(fraction) - len(digits)
    digits = digits.rstrip("0")
    if not digits:
        return sign + "0"
    return f"{sign}0.{digits}e{int(exponent or 0) + len(whole) - leading}"


def double_sql(text: str, *, split: str, integer: str) -> str:
    """SQL that respells a finite double's shortest decimal text as `double_field` does.

    `text` is the SQL of the value's text without a sign, `split` a template that gives part {n} of
    {text} at {mark} (empty when there is none), `integer` the integer type to cast to.
    """
    mantissa = split.format(text=text, mark="e", n=1)
    exponent = split.format(text=text, mark="e", n=2)
    whole = split.format(text=mantissa, mark=".", n=1)
    digits = f"replace({mantissa}, '.', '')"
    shift = (
        f"cast(coalesce(nullif({exponent}, ''), '0') as {integer}) + length({whole})"
        f" - length({digits}) + length(trim(leading '0' from {digits}))"
    )
    shown = f"trim(both '0' from {digits})"
    return f"case when {shown} = '' then '0' else concat('0.', {shown}, 'e', {shift}) end"


def has_escapes(data: bytes) -> bool:
    """Whether anything in it is escaped; a null is not."""
    # A backslash begins an escape or a null; one that is not there is found fastest.
    return b"\\" in data and data.count(b"\\") > data.count(NULL)


def unescape(value: bytes) -> bytes:
    """The text of a field."""
    if b"\\" in value:
        for plain, escaped in reversed(ESCAPES.items()):
            value = value.replace(escaped.encode(), plain.encode())
    return value


def readable(value: bytes) -> str:
    """A field as a person would write it, for samples in messages."""
    if value.startswith(b"\\?"):
        return REASONS[value[2:].decode()].partition(",")[0]
    return unescape(value).decode("utf-8", "replace")


@dataclass
class Issue:
    """How many values of a column could not be loaded exactly, with the key of one row."""

    count: int = 0
    sample_key: str | None = None


@dataclass
class Issues:
    """Values of one table that could not be loaded exactly, by column and reason."""

    table: Table
    # A key that holds hashed values is not shown.
    hides_key: bool = False
    found: dict[tuple[str, str], Issue] = field(default_factory=dict)

    def add(self, column: Column, reason: str, sample_key: str | None, count: int = 1) -> None:
        """Count values of a column; the first sample key stays."""
        issue = self.found.setdefault((column.raw_name, reason), Issue())
        issue.count += count
        if issue.sample_key is None and sample_key is not None and not self.hides_key:
            # Not every warehouse that stores the key can hold a NUL.
            issue.sample_key = sample_key.replace("\0", "\\0")


@dataclass
class Tally:
    """A count of a stream: rows, bytes and a SHA-256 of every byte in order."""

    rows: int = 0
    size: int = 0
    _hash: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def add(self, data: bytes | memoryview, rows: int = 0) -> None:
        """Count some more bytes."""
        self.rows += rows
        self.size += len(data)
        self._hash.update(data)

    @property
    def digest(self) -> str:
        """The digest so far, in hex."""
        return self._hash.hexdigest()


@dataclass
class CalculatedTally(Tally):
    """The same, calculated by a warehouse from the lines that it renders."""

    calculated: str = ""

    @property
    def digest(self) -> str:
        """The digest that the warehouse gave, in hex."""
        return self.calculated


_DATED = (Kind.DECIMAL, Kind.DATE, Kind.TIMESTAMP)


def without_losses(
    blocks: Iterator[Block],
    issues: Issues,
    *,
    stores_nul: bool,
    marks_infinity: bool,
    longest: Mapping[Kind, int],
) -> Iterator[Block]:
    """The same rows; what the warehouse cannot hold becomes null (or is removed) and is counted.

    A block without such a value passes unchanged; others are checked field by field.
    `stores_nul`: the destination's text can hold a NUL. `marks_infinity`: the source writes NaN and
    infinity as words into decimal and date columns (PostgreSQL does). `longest`: bytes that a value
    of a type can have there.
    """
    shortest_limit = min(longest.values(), default=None)
    for block in blocks:
        data = block.data
        suspect = (
            (b"\\" in data and b"\\?" in data)
            or (not stores_nul and b"\0" in data)
            or (marks_infinity and (b"NaN" in data or b"nfinity" in data))
        )
        lines = data.split(b"\n") if suspect or shortest_limit is not None else []
        if suspect or (shortest_limit is not None and len(max(lines, key=len)) > shortest_limit):
            lines.pop()
            mended = [_mend(line, issues, stores_nul, marks_infinity, longest) for line in lines]
            block = Block(b"\n".join(mended) + b"\n", block.rows)
        yield block


def hashed(blocks: Iterator[Block], positions: Sequence[int], salt: str) -> Iterator[Block]:
    """The same rows with the fields at some positions replaced by a salted SHA-256, in hex.

    Equal values give equal digests, whatever their table, so that they still join; null stays null.
    """
    key = salt.encode()
    for block in blocks:
        lines = block.data.split(b"\n")
        lines.pop()
        for number, line in enumerate(lines):
            fields = line.split(b"\t")
            for position in positions:
                if fields[position] != NULL:
                    digest = hmac.new(key, fields[position], hashlib.sha256)
                    fields[position] = digest.hexdigest().encode()
            lines[number] = b"\t".join(fields)
        yield Block(b"\n".join(lines) + b"\n", block.rows)


def _mend(
    line: bytes,
    issues: Issues,
    stores_nul: bool,
    marks_infinity: bool,
    longest: Mapping[Kind, int],
) -> bytes:
    fields = line.split(b"\t")
    columns = issues.table.columns
    original: list[bytes] | None = None
    for position, value in enumerate(fields):
        column = columns[position]
        if value.startswith(b"\\?"):
            reason, new = REASONS[value[2:].decode()], NULL
        elif marks_infinity and column.type.kind in _DATED and value.lstrip(b"-+").isalpha():
            reason, new = REASONS["I"], NULL
        elif not stores_nul and b"\0" in value:
            reason, new = NUL_REMOVED, value.replace(b"\0", b"")
        elif _is_longer(value, column.type.kind, longest):
            reason, new = TOO_LONG.format(longest[column.type.kind]), NULL
        else:
            continue
        original = original or list(fields)
        issues.add(column, reason, key_of(original, issues.table))
        fields[position] = new
    return b"\t".join(fields)


def _is_longer(value: bytes, kind: Kind, longest: Mapping[Kind, int]) -> bool:
    """Whether a field, unescaped, has more bytes than a value of its type can have."""
    limit = longest.get(kind)
    # Without its escapes, the value is never longer than the field.
    if limit is None or len(value) <= limit:
        return False
    if kind is Kind.BINARY:
        return (len(value) - len(binary_field(b""))) // 2 > limit
    return len(unescape(value)) > limit


def key_of(fields: Sequence[bytes], table: Table) -> str | None:
    """The key of a row as a person would write it, from its fields; None without a key."""
    if not table.key:
        return None
    positions = {column.name: n for n, column in enumerate(table.columns)}
    return ", ".join(readable(fields[positions[name]]) for name in table.key)
