"""Values of keys as MariaDB's binary log has them, spelled as they travel in a load.

A type that is not here is no key that can be read: its table is compared as a whole.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ..wire import binary_field, escape

FIXED = {0: 4, 1: 1, 2: 2, 3: 4, 4: 4, 5: 8, 6: 0, 7: 4, 8: 8, 9: 3, 10: 3, 11: 3, 12: 8, 13: 1}
FIXED |= {14: 3}
VARCHAR, BIT, TIMESTAMP2, DATETIME2, TIME2 = 15, 16, 17, 18, 19
DECIMAL, ENUM, SET, STRING = 246, 247, 248, 254
# Types with a fraction of a second: the bytes of the rest.
FRACTIONED = {TIMESTAMP2: 4, DATETIME2: 5, TIME2: 3}
WITH_LENGTH = {140, 242, 245, 249, 250, 251, 252, 255}
# Bytes of so many decimal digits.
DIGIT_BYTES = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
INTEGERS = {"tinyint": (1, 1), "smallint": (2, 2), "mediumint": (9, 3), "int": (3, 4)}
INTEGERS |= {"bigint": (8, 8)}
CODECS = {"utf8mb4": "utf-8", "utf8mb3": "utf-8", "utf8": "utf-8", "ascii": "ascii"}
CODECS |= {"latin1": "cp1252", "ucs2": "utf-16-be", "utf16": "utf-16-be", "utf32": "utf-32-be"}


class UnreadableError(ValueError):
    """A value of a key that cannot be spelled from the log alone."""


@dataclass(frozen=True)
class KeyColumn:
    """`place`: of the column among all; `length`: bytes of a binary column."""

    place: int
    base: str
    unsigned: bool = False
    charset: str = ""
    length: int = 0
    fraction: int = 0


@dataclass(frozen=True)
class Stored:
    """A value as the log has it: the number of its type, the type's description, its bytes."""

    column: KeyColumn
    kind: int
    meta: bytes
    data: bytes


def size_of(kind: int, meta: bytes, rows: bytes, place: int) -> tuple[int, int]:
    """Bytes before a value that say how long it is, and bytes of the value."""
    if kind in FIXED:
        return 0, FIXED[kind]
    if kind in FRACTIONED:
        return 0, FRACTIONED[kind] + (meta[0] + 1) // 2
    if kind in WITH_LENGTH:
        return meta[0], int.from_bytes(rows[place : place + meta[0]], "little")
    if kind in (VARCHAR, 141, 253):
        head = 1 if int.from_bytes(meta, "little") < 256 else 2
        return head, int.from_bytes(rows[place : place + head], "little")
    if kind == STRING:
        real, length = _string(meta)
        if real in (ENUM, SET):
            return 0, length
        head = 1 if length < 256 else 2
        return head, int.from_bytes(rows[place : place + head], "little")
    if kind == BIT:
        return 0, meta[1] + (1 if meta[0] else 0)
    if kind == DECIMAL:
        return 0, sum(_decimal_sizes(meta))
    raise UnreadableError(f"a type of the number {kind}")


def spelled(column: KeyColumn, kind: int, meta: bytes, value: bytes) -> bytes:
    """The field of a value. Raises UnreadableError, also where the log has another type."""
    if column.base in INTEGERS:
        if INTEGERS[column.base][0] != kind:
            raise UnreadableError("another type")
        return str(int.from_bytes(value, "little", signed=not column.unsigned)).encode()
    read = READERS.get(column.base)
    if read is None:
        raise UnreadableError(column.base)
    return read(Stored(column, kind, meta, value)).encode()


def _string(meta: bytes) -> tuple[int, int]:
    """A string's real type, and the most bytes it may have."""
    if meta[0] & 0x30 != 0x30:
        return meta[0] | 0x30, meta[1] | ((meta[0] & 0x30) ^ 0x30) << 4
    return meta[0], meta[1]


def _text(stored: Stored) -> str:
    _only(stored.kind in ((VARCHAR,) if stored.column.base == "varchar" else (STRING,)))
    codec = CODECS.get(stored.column.charset)
    _only(codec is not None)
    try:
        text = stored.data.decode(codec or "")
    except UnicodeDecodeError:
        raise UnreadableError(f"text in {stored.column.charset}") from None
    _only("\0" not in text)
    return escape(text)


def _bytes(stored: Stored) -> str:
    _only(stored.kind in ((VARCHAR,) if stored.column.base == "varbinary" else (STRING,)))
    # The log leaves out the zeros that fill up a binary stored.column.
    return binary_field(
        stored.data.ljust(stored.column.length if stored.column.base == "binary" else 0, b"\0")
    )


def _decimal_sizes(meta: bytes) -> tuple[int, int]:
    """Bytes before and behind the point."""
    precision, scale = meta
    whole = precision - scale
    return (
        whole // 9 * 4 + DIGIT_BYTES[whole % 9],
        scale // 9 * 4 + DIGIT_BYTES[scale % 9],
    )


def _decimal(stored: Stored) -> str:
    _only(stored.kind == DECIMAL)
    precision, scale = stored.meta
    negative = not stored.data[0] & 0x80
    plain = bytes([stored.data[0] ^ 0x80]) + stored.data[1:]
    if negative:
        plain = bytes(byte ^ 0xFF for byte in plain)
    before, _ = _decimal_sizes(stored.meta)
    whole = precision - scale
    first = DIGIT_BYTES[whole % 9]
    digits = _digits(plain[:first], whole % 9)
    digits += "".join(_digits(plain[n : n + 4], 9) for n in range(first, before, 4))
    rest, behind = plain[before:], ""
    for _ in range(scale // 9):
        behind, rest = behind + _digits(rest[:4], 9), rest[4:]
    behind += _digits(rest, scale % 9)
    text = (digits.lstrip("0") or "0") + (f".{behind}" if scale else "")
    return f"-{text}" if negative and text.strip("0.") else text


def _digits(data: bytes, count: int) -> str:
    return str(int.from_bytes(data, "big")).zfill(count) if count else ""


def _date(stored: Stored) -> str:
    _only(stored.kind in (10, 14))
    number = int.from_bytes(stored.data, "little")
    return _day(number >> 9, number >> 5 & 15, number & 31)


def _datetime(stored: Stored) -> str:
    _only(stored.kind == DATETIME2)
    number = int.from_bytes(stored.data[:5], "big") - 0x8000000000
    day, clock = number >> 17, number & 0x1FFFF
    month = day >> 5
    text = _day(month // 13, month % 13, day & 31)
    fraction = _fraction(stored.data[5:], stored.meta[0]).rstrip("0").rstrip(".")
    return f"{text} {_clock(clock)}{fraction}"


def _timestamp(stored: Stored) -> str:
    _only(stored.kind == TIMESTAMP2)
    seconds = int.from_bytes(stored.data[:4], "big")
    _only(seconds > 0)
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    fraction = _fraction(stored.data[4:], stored.meta[0]).rstrip("0").rstrip(".")
    return f"{moment:%Y-%m-%d %H:%M:%S}{fraction}"


def _time(stored: Stored) -> str:
    _only(stored.kind == TIME2)
    more = len(stored.data) - 3
    # One number with its fraction: a negative one is below the middle.
    number = int.from_bytes(stored.data, "big") - (0x800000 << 8 * more)
    size = abs(number)
    clock, rest = size >> 8 * more, size & (1 << 8 * more) - 1
    text = f"{clock >> 12:02}:{clock >> 6 & 63:02}:{clock & 63:02}"
    fraction = _fraction(rest.to_bytes(more, "big"), stored.meta[0])
    return f"{'-' if number < 0 else ''}{text}{fraction}"


def _year(stored: Stored) -> str:
    _only(stored.kind == 13)
    return str(stored.data[0] + 1900 if stored.data[0] else 0)


def _day(year: int, month: int, day: int) -> str:
    _only(bool(year and month and day))
    return f"{year:04}-{month:02}-{day:02}"


def _clock(number: int) -> str:
    return f"{number >> 12:02}:{number >> 6 & 63:02}:{number & 63:02}"


def _fraction(data: bytes, digits: int) -> str:
    """The fraction of a second, of which the log has an even number of digits."""
    if not digits:
        return ""
    return f".{str(int.from_bytes(data, 'big')).zfill(2 * len(data))[:digits]}"


def _only(fine: bool) -> None:
    if not fine:
        raise UnreadableError("a value that cannot be spelled")


Reader = Callable[[Stored], str]
READERS: dict[str, Reader] = {
    "char": _text,
    "varchar": _text,
    "binary": _bytes,
    "varbinary": _bytes,
    "decimal": _decimal,
    "date": _date,
    "datetime": _datetime,
    "timestamp": _timestamp,
    "time": _time,
    "year": _year,
}
