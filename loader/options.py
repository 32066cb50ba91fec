"""The options of a load beyond source and target."""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from .required import NOTHING, Required

MODES = ("auto", "full", "diff", "append")
POLICIES = ("evolve", "freeze", "ignore-new")


@dataclass(frozen=True)
class TableOptions:
    """How one table is read. `overlap`: how far below the newest cursor value to read again, in the
    cursor's unit for numbers, in seconds for timestamps, in days for dates.
    """

    mode: str = "auto"
    cursor: str | None = None
    overlap: int = 0
    policy: str = "evolve"


@dataclass(frozen=True)
class Accepted:
    """A column, as `table.column`, that models need and the source does not have; and why not."""

    column: str
    since: date
    because: str


@dataclass(frozen=True)
class Options:
    """The choices of a run; names and patterns are the source's, in any case."""

    select: Sequence[str] = ()
    exclude: Sequence[str] = ()
    # `column`, or `table.column`; patterns too.
    exclude_columns: Sequence[str] = ()
    hash_columns: Sequence[str] = ()
    hash_salt: str | None = field(default=None, repr=False)
    strict: bool = False
    full_refresh: bool = False
    # Share of a table's rows that may vanish in one run, from 0 to 1.
    max_delete_share: float = 0.5
    required: Required = NOTHING
    accept: Sequence[Accepted] = ()
    default: TableOptions = TableOptions()
    tables: Mapping[str, TableOptions] = field(default_factory=dict)

    def of(self, table: str) -> TableOptions:
        """The options of one table."""
        for name, options in self.tables.items():
            if name.lower() == table.lower():
                return options
        return self.default


def column_matches(patterns: Sequence[str], table: str, column: str) -> bool:
    """Whether a pattern names a column, alone or as `table.column`, in any case."""
    names = (column.lower(), f"{table}.{column}".lower())
    return any(fnmatch.fnmatchcase(name, pattern.lower()) for pattern in patterns for name in names)
