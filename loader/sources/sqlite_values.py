"""SQLite's values: a declaration enforces nothing, so each value decides how it is spelled.

A column gets its declared type if every value fits that, else the narrowest type that holds all.
"""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from decimal import Decimal

from ..schema import (
    BIGINT,
    BINARY,
    BOOLEAN,
    DATE,
    DOUBLE,
    TEXT,
    TIMESTAMP,
    Kind,
    Type,
    decimal_type,
)
from ..wire import NANOSECONDS_CUT, REASONS, ZERO_DATE, binary_field, double_field, escape

Value = int | float | str | bytes
Writer = Callable[[Value], str]

_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
# With any number of digits, and a zone as programs append it: .NET, Go, Rails, JavaScript.
_TIMESTAMP = re.compile(
    r"(\d{4}-\d\d-\d\d)[ Tt](\d\d:\d\d(?::\d\d(?:\.(\d+))?)?)"
    r"(?:\s*([Zz]|UTC|GMT|([+-]\d\d(?::?\d\d)?)(?: (?:[A-Z]{1,5}|[+-]\d{2,4}))?))?",
    re.ASCII,
)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_ZERO_DATE = re.compile(ZERO_DATE, re.ASCII)
_BOOLEANS = {"t": "t", "true": "t", "f": "f", "false": "f"}


class MisfitError(ValueError):
    """A value of another type than that of its column."""


class InexactError(ValueError):
    """A value that no type holds exactly: the field that stands for it, and why."""

    def __init__(self, reason: str, field: str = "\\N") -> None:
        self.reason, self.field = reason, field


def type_of(declared: str) -> Type:
    """The type that a declaration means."""
    base, _, arguments = declared.lower().partition("(")
    base = base.strip()
    digits = [int(number) for number in re.findall(r"\d+", arguments)]
    if base in ("decimal", "numeric"):
        return decimal_type(digits[0], digits[1] if len(digits) > 1 else 0) if digits else TEXT
    if base in ("bool", "boolean"):
        return BOOLEAN
    if base == "date":
        return DATE
    if base in ("datetime", "timestamp", "timestamptz"):
        return TIMESTAMP
    # SQLite's rules of affinity, in their order; its integers always have 64 bits.
    if "int" in base:
        return BIGINT
    if any(word in base for word in ("char", "clob", "text")):
        return TEXT
    if "blob" in base or base in ("binary", "varbinary"):
        return BINARY
    if any(word in base for word in ("real", "floa", "doub")):
        return DOUBLE
    return TEXT


def plain_sql(name: str, kind: Type) -> str | None:
    """SQL that is true only of values that fit, so that Python need not look at them.

    None for types that hold every value.
    """
    in_type = f"typeof({name}) = "
    text = f"{in_type}'text' and {name} >= '0001-01-01' and {name} = strftime"
    # The shift by no days makes SQLite look into the calendar.
    day = f"({text}('%Y-%m-%d', {name}, '+0 days'))"
    match kind.kind:
        case Kind.BIGINT:
            return f"{in_type}'integer'"
        case Kind.BOOLEAN:
            return f"{in_type}'integer' and {name} in (0, 1)"
        case Kind.DOUBLE:
            return f"{in_type}'real'"
        case Kind.DATE:
            return day
        case Kind.TIMESTAMP:
            return f"({day} or {text}('%Y-%m-%d %H:%M:%S', {name}, '+0 days'))"
        case Kind.DECIMAL:
            limit = min(10 ** (kind.precision - kind.scale), 2**53)
            whole = f"abs({name}) < {limit} and"
            # With 15 digits, every decimal is the double that is nearest to it and to no other.
            exact = str(kind.precision <= 15).lower()
            return (
                f"({in_type}'integer' and {whole} true or {in_type}'real' and {whole} {exact}"
                f" and round({name}, {kind.scale}) = {name})"
            )
    return None


def narrowest(kind: Type, values: Callable[[], Iterable[Value]]) -> Type:
    """The declared type if it holds all values; else the narrowest one that does."""
    if fits(kind, values()):
        return kind
    candidates = {
        Kind.BIGINT: (DOUBLE,),
        Kind.BOOLEAN: (BIGINT, DOUBLE),
        Kind.DATE: (TIMESTAMP, BIGINT, DOUBLE),
        Kind.TIMESTAMP: (BIGINT, DOUBLE),
    }.get(kind.kind, ())
    if kind.kind in (Kind.BIGINT, Kind.DECIMAL):
        candidates = (_decimal_for(kind, values()), *candidates)
    return next((other for other in candidates if fits(other, values())), TEXT)


def fits(kind: Type, values: Iterable[Value]) -> bool:
    """Whether a type holds all values, but for those that no type holds."""
    if kind.kind not in _KINDS:
        return False
    write = writer(kind)
    for value in values:
        try:
            write(value)
        except MisfitError:
            return False
        except InexactError:
            pass
    return True


def _decimal_for(kind: Type, values: Iterable[Value]) -> Type:
    """A decimal with as many digits as these values need, if there is one; else the same type."""
    whole, scale = (kind.precision - kind.scale, kind.scale) if kind.precision else (19, 0)
    for value in values:
        try:
            number = _number(value)
        except InexactError:
            continue
        except MisfitError:
            return kind
        if kind == BIGINT and isinstance(value, float) and float(number) != value:
            return kind
        _, digits, exponent = number.normalize().as_tuple()
        whole = max(whole, len(digits) + int(exponent))
        scale = max(scale, -int(exponent))
    found = decimal_type(whole + scale, scale)
    return kind if found == TEXT else found


def writer(kind: Type) -> Writer:
    """How a value of a column becomes a field; it raises MisfitError, or InexactError."""
    if kind.kind is Kind.DECIMAL:
        return lambda value: _decimal(_readable(value), kind)
    if kind.kind is Kind.BINARY:
        return _binary
    if kind.kind is Kind.TEXT:
        return _text
    write = _WRITERS[kind.kind]
    return lambda value: write(_readable(value))


def _readable(value: Value) -> int | float | str:
    """A value of a column that holds neither text nor bytes."""
    if isinstance(value, bytes):
        _decoded(value)
        raise MisfitError
    if isinstance(value, str) and not value.strip():
        raise InexactError("blank text, loaded as null")
    return value


def _integer(value: Value) -> str:
    if isinstance(value, int):
        return str(value)
    raise MisfitError


def _boolean(value: Value) -> str:
    if isinstance(value, int) and value in (0, 1):
        return "t" if value else "f"
    if isinstance(value, str) and value.lower() in _BOOLEANS:
        return _BOOLEANS[value.lower()]
    raise MisfitError


def _number(value: Value) -> Decimal:
    """A number. SQLite stores fractions as doubles of 15 decimal digits."""
    text = format(value, ".15g") if isinstance(value, float) else str(_readable(value)).strip()
    if not isinstance(value, float) and not _NUMBER.fullmatch(text):
        raise MisfitError
    number = Decimal(text)
    if not number.is_finite():
        raise InexactError(REASONS["I"])
    return number


def _decimal(value: Value, kind: Type) -> str:
    number = _number(value)
    _, digits, exponent = number.normalize().as_tuple()
    if -int(exponent) > kind.scale or len(digits) + int(exponent) > kind.precision - kind.scale:
        raise MisfitError
    shown = format(number, f".{kind.scale}f")
    return shown.lstrip("-") if not number else shown


def _double(value: Value) -> str:
    if isinstance(value, int):
        if int(float(value)) != value:
            raise MisfitError
        value = float(value)
    if isinstance(value, float):
        return double_field(value)
    raise MisfitError


def _date(value: Value) -> str:
    text = _dated(value)
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text).isoformat()
    except ValueError:
        pass
    raise MisfitError


def _timestamp(value: Value) -> str:
    text = _dated(value)
    if _DATE.fullmatch(text):
        return _date(text) + " 00:00:00"
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise MisfitError
    day, clock, fraction, zone, offset = match.groups()
    try:
        # Python cuts further digits off a fraction.
        moment = datetime.fromisoformat(f"{day} {clock}{offset or ('Z' if zone else '')}")
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise MisfitError from None
    shown = moment.isoformat(" ")
    shown = shown.rstrip("0") if "." in shown else shown
    if fraction and fraction[6:].strip("0"):
        raise InexactError(NANOSECONDS_CUT, shown)
    return shown


def _dated(value: Value) -> str:
    if not isinstance(value, str):
        raise MisfitError
    if _ZERO_DATE.fullmatch(value):
        raise InexactError(REASONS["Z"])
    return value


def _binary(value: Value) -> str:
    if isinstance(value, bytes):
        return binary_field(value)
    if isinstance(value, str):
        return binary_field(value.encode())
    digits = binary_field(repr(value).encode())
    raise InexactError("number in a column of bytes, loaded as its digits", digits)


def _text(value: Value) -> str:
    if isinstance(value, bytes):
        value = _decoded(value)
    return escape(value) if isinstance(value, str) else repr(value)


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InexactError("bytes that are not UTF-8, loaded as null") from None


_WRITERS: dict[Kind, Writer] = {
    Kind.BIGINT: _integer,
    Kind.BOOLEAN: _boolean,
    Kind.DATE: _date,
    Kind.TIMESTAMP: _timestamp,
    Kind.DOUBLE: _double,
}
_KINDS = {*_WRITERS, Kind.DECIMAL, Kind.TEXT}
