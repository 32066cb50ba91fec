"""The one type system that sources and destinations share, and what a table looks like in it."""

from dataclasses import dataclass, field
from enum import Enum

METADATA_COLUMNS = ("_loaded_at", "_batch_id", "_deleted_at")
# Declared type of a column whose type is inferred from its values, when it has none.
NO_VALUES = "no values"


class Kind(Enum):
    """The types that a value can have on its way into the warehouse."""

    BOOLEAN = "boolean"
    SMALLINT = "smallint"
    INTEGER = "integer"
    BIGINT = "bigint"
    DECIMAL = "decimal"
    DOUBLE = "double"
    DATE = "date"
    TIMESTAMP = "timestamp"
    TEXT = "text"
    BINARY = "binary"


@dataclass(frozen=True)
class Type:
    """A warehouse type; `precision` and `scale` (decimal digits) only for decimals."""

    kind: Kind
    precision: int = 0
    scale: int = 0

    def __str__(self) -> str:
        if self.kind is Kind.DECIMAL:
            return f"decimal({self.precision},{self.scale})"
        return str(self.kind.value)


BOOLEAN = Type(Kind.BOOLEAN)
SMALLINT = Type(Kind.SMALLINT)
INTEGER = Type(Kind.INTEGER)
BIGINT = Type(Kind.BIGINT)
DOUBLE = Type(Kind.DOUBLE)
DATE = Type(Kind.DATE)
TIMESTAMP = Type(Kind.TIMESTAMP)
TEXT = Type(Kind.TEXT)
BINARY = Type(Kind.BINARY)
UNSIGNED_BIGINT = Type(Kind.DECIMAL, 20, 0)

INTEGERS = (SMALLINT, INTEGER, BIGINT, UNSIGNED_BIGINT)

MAX_DECIMAL_DIGITS = 38


def decimal_type(precision: int, scale: int) -> Type:
    """The exact type for a decimal: itself to 38 digits, beyond that text."""
    if 0 < precision <= MAX_DECIMAL_DIGITS and 0 <= scale <= precision:
        return Type(Kind.DECIMAL, precision, scale)
    return TEXT


def integer_type(bits: int, *, unsigned: bool = False) -> Type:
    """The smallest integer type that holds every value of `bits` bits."""
    needed = bits + 1 if unsigned else bits
    if needed <= 16:
        return SMALLINT
    if needed <= 32:
        return INTEGER
    return BIGINT if needed <= 64 else UNSIGNED_BIGINT


_INTEGER_DIGITS = {Kind.SMALLINT: 5, Kind.INTEGER: 10, Kind.BIGINT: 19}


def widest(first: Type, second: Type) -> Type | None:
    """The narrowest type that holds every value of both, else text; None where nothing does."""
    if first == second:
        return first
    kinds = {first.kind, second.kind}
    if Kind.BINARY in kinds:
        return None
    if kinds <= _INTEGER_DIGITS.keys():
        return max(first, second, key=lambda kind: _INTEGER_DIGITS[kind.kind])
    if kinds <= _INTEGER_DIGITS.keys() | {Kind.DECIMAL}:
        scale = max(first.scale, second.scale)
        whole = max(_INTEGER_DIGITS.get(k.kind, k.precision - k.scale) for k in (first, second))
        return decimal_type(whole + scale, scale)
    if kinds in ({Kind.DOUBLE, Kind.SMALLINT}, {Kind.DOUBLE, Kind.INTEGER}):
        return DOUBLE
    return TIMESTAMP if kinds == {Kind.DATE, Kind.TIMESTAMP} else TEXT


@dataclass(frozen=True)
class Column:
    """A column of a source table: its name there, its name in raw, its type there and here."""

    name: str
    raw_name: str
    declared: str
    type: Type
    nullable: bool = True
    # Why the type is not the source's own (a decimal that is loaded as text).
    note: str | None = None
    # Names the salt with which values are hashed; empty if they are not.
    hashed: str = ""
    # Characters that a text can have, if the source enforces a limit.
    length: int | None = None


@dataclass(frozen=True)
class Table:
    """A source table or view; `key`: the source names of a unique, not-null key, or nothing."""

    name: str
    raw_name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    estimated_rows: int | None = None
    # The source shows only some columns, because its user may not read the others.
    shows_part: bool = False
    # What the source's module needs to read the table; no other module uses it.
    detail: dict[str, object] = field(default_factory=dict, compare=False)
    # Raw columns that models need and the source does not have: their values stay as last loaded.
    unknown: tuple[tuple[str, Type], ...] = ()

    @property
    def key_columns(self) -> tuple[Column, ...]:
        """The key's columns in the key's order."""
        by_name = {column.name: column for column in self.columns}
        return tuple(by_name[name] for name in self.key)
