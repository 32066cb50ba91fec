"""Which types the models can take for the one that they need, and which values of these."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from decimal import Decimal

from .errors import LoadError
from .schema import INTEGERS, TEXT, Column, Kind, Table, Type
from .sources import Source
from .wire import Block


def remedy(source: Source, table: Table, column: Column, wanted: Type) -> str:
    """What a person can do about a column of an unfit type."""
    if source.url.scheme == "file":
        return (
            "correct the file, or declare its columns in schema.yml beside the files"
            f" (tables: {table.name}: columns: {column.name}: {wanted})"
        )
    return "change it in the source, or load a view that casts it"


def arrives(column: Column) -> Type:
    """The type in which a column reaches the warehouse."""
    return TEXT if column.hashed else column.type


def takes(wanted: Type, given: Type) -> bool | None:
    """Whether models that need a type can take another one; None: it depends on each value."""
    kind = given.kind
    whole = given in INTEGERS or (kind is Kind.DECIMAL and given.scale == 0)
    if wanted == given:
        return True
    if wanted.kind is Kind.TEXT:
        # Other types have more than one text for a value.
        return whole or kind is Kind.DATE
    if wanted in INTEGERS or wanted.kind is Kind.DECIMAL:
        if whole or (kind is Kind.DECIMAL and given.scale <= wanted.scale):
            return True
        return None if kind in (Kind.DECIMAL, Kind.DOUBLE, Kind.TEXT) else False
    if wanted.kind is Kind.DATE:
        return None if kind in (Kind.TIMESTAMP, Kind.TEXT) else False
    if wanted.kind is Kind.TIMESTAMP:
        return kind is Kind.DATE
    return wanted.kind is Kind.DOUBLE and (whole or kind is Kind.DECIMAL)


def fitting(
    blocks: Iterator[Block], table: Table, wanted: Mapping[str, Type | None], source: Source
) -> Iterator[Block]:
    """The blocks, after a look at each value of a type that models can take only in part.

    Raises LoadError at the end, with the columns and how many values do not fit.
    """
    looks = [
        (place, column, _fits(want, arrives(column)), want)
        for place, column in enumerate(table.columns)
        if (want := wanted.get(column.raw_name)) and takes(want, arrives(column)) is None
    ]
    if not looks:
        yield from blocks
        return
    key = [table.columns.index(column) for column in table.key_columns if not column.hashed]
    unfit: dict[int, tuple[int, str, str]] = {}
    for block in blocks:
        for line in block.data.split(b"\n")[:-1]:
            values = line.split(b"\t")
            for place, _, fits, _ in looks:
                if values[place] != b"\\N" and not fits(values[place].decode()):
                    count, sample, at = unfit.get(
                        place,
                        (0, values[place].decode(), ", ".join(values[n].decode() for n in key)),
                    )
                    unfit[place] = count + 1, sample, at
        yield block
    for place, column, _, want in looks:
        if place in unfit:
            count, sample, at = unfit[place]
            if arrives(column).kind is Kind.DOUBLE:
                sample = repr(float(sample))
            where = f", where the key is {at}" if at else ""
            raise LoadError(
                f"The column {table.name}.{column.name} is {column.declared} in the source, and"
                f" {count:,} of its values cannot become {want}, which the models need (for example"
                f" {sample}{where}): {remedy(source, table, column, want)}. Nothing was published."
            )


def _fits(wanted: Type, given: Type) -> Callable[[str], bool]:
    """Whether a value, as it arrives, is exactly one of the wanted type."""
    if wanted.kind is Kind.DATE:
        if given.kind is Kind.TIMESTAMP:
            return lambda text: re.search(r" 00:00:00(\.0+)?$", text) is not None
        return _is_date
    scale = wanted.scale
    digits = wanted.precision - scale or 9
    if given.kind is Kind.DOUBLE:
        return lambda text: _is_round(text, scale, digits)
    pattern = re.compile(rf"-?\d{{1,{digits}}}(\.\d{{0,{scale}}}0*)?")
    return lambda text: pattern.fullmatch(text) is not None


def _is_date(text: str) -> bool:
    try:
        return str(date.fromisoformat(text)) == text
    except ValueError:
        return False


def _is_round(text: str, scale: int, digits: int) -> bool:
    """Whether a double is the one that is nearest to a number of so many digits."""
    number = float(text)
    if not abs(number) < 10**digits:  # NaN too
        return False
    return float(round(Decimal(text), scale)) == number
