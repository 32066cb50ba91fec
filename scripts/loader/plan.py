"""How each table will be read, and why."""

from dataclasses import dataclass, field, replace

from .destinations import Destination, Within
from .errors import UsageError
from .options import Options
from .ranges import FEWEST_ROWS, Digests, Partition, Scope, State, changed, fingerprint
from .schema import TEXT, Table
from .sources import Source

# When more rows than this share lie in changed ranges, one plain read costs less.
MOSTLY_CHANGED = 0.5


@dataclass
class Plan:
    """What will be asked of the source for one table, and what is known before asking."""

    # As the source has it; and as it arrives, when columns are hashed.
    source_table: Table
    table: Table
    mode: str
    reason: str
    fingerprint: str
    before: State | None = None
    partition: Partition | None = None
    # Of all ranges, when the source was asked for them.
    now: Digests = field(default_factory=dict)
    numbers: frozenset[int] = frozenset()
    after: str | None = None
    cursor: str | None = None

    @property
    def reads_nothing(self) -> bool:
        """Whether the digests say that nothing changed."""
        return self.mode == "diff" and not self.numbers

    @property
    def expected_rows(self) -> int | None:
        """Rows that will travel, as far as the source knows beforehand."""
        if self.mode == "diff":
            return sum(self.now[number].rows for number in self.numbers if number in self.now)
        return None if self.after is not None else self.source_table.estimated_rows

    @property
    def scope(self) -> Scope:
        """The rows to ask for."""
        if self.mode == "append" and self.after is not None:
            column = next(c for c in self.source_table.columns if c.name == self.cursor)
            return Scope(after=(column, self.after))
        if self.mode == "diff":
            there = frozenset(number for number in self.numbers if number in self.now)
            return Scope(self.partition, there)
        return Scope(self.partition)

    @property
    def within(self) -> Within | None:
        """The part of the published table that the staged rows stand for."""
        if self.mode == "diff":
            return Within(self.partition, self.numbers)
        return Within() if self.mode == "append" and self.after is not None else None

    def state(self, read: Digests) -> State | None:
        """What to keep for the next run; `read` are the digests of a full read."""
        if self.partition is None:
            return None
        digests = self.now if self.mode == "diff" else read
        return State(self.fingerprint, self.partition.width, digests)


def arriving(table: Table, options: Options) -> Table:
    """The table with its hashed columns as text."""
    columns = tuple(
        replace(c, type=TEXT, note=None) if options.hashed(table, c.name) else c
        for c in table.columns
    )
    return replace(table, columns=columns)


def make_plan(table: Table, source: Source, destination: Destination, options: Options) -> Plan:
    """Choose between reading all, what changed by the source's digests, and what was appended.

    Raises UsageError when the mode that was asked for cannot be had.
    """
    asked = options.of(table.name)
    shape = fingerprint(table, options.treatments(table))
    before = destination.state(table.raw_name)
    first = destination.columns(table.raw_name) is None
    arrives = arriving(table, options)
    anew = options.full_refresh or asked.mode == "full"
    if asked.mode == "append" and not anew:
        return _append(table, arrives, destination, asked.cursor, asked.overlap, shape, before)
    # A range is found again in the warehouse by its key, so the key must arrive as it is.
    divisible = bool(table.key) and arrives.key_columns[0] == table.key_columns[0]
    if before is not None and before.fingerprint == shape and not first and not anew:
        known = Partition(table.key_columns[0], before.width)
        now = source.digests(table, known)
        if now is not None:
            numbers = frozenset(changed(before.digests, now))
            rows = sum(digest.rows for digest in now.values())
            touched = sum(now[number].rows for number in numbers if number in now)
            if touched <= rows * MOSTLY_CHANGED:
                reason = f"{len(numbers)} of {len(now)} ranges of {known.column.name} changed"
                return Plan(table, arrives, "diff", reason, shape, before, known, now, numbers)
            reason = "most key ranges changed"
            return Plan(table, arrives, "full", reason, shape, before, source.partition(table))
    partition = source.partition(table) if divisible else None
    if asked.mode == "diff" and partition is None:
        raise UsageError(
            f"--mode diff: the source digests no key ranges of {table.name}, which needs an integer"
            f" key and at least {FEWEST_ROWS:,} rows: use full or auto."
        )
    if anew:
        reason = "asked for"
    elif first:
        reason = "first load"
    elif partition is None:
        reason = "few rows, or no integer key"
    else:
        reason = "no digests of its present shape yet"
    return Plan(table, arrives, "full", reason, shape, before, partition)


def _append(
    table: Table,
    arrives: Table,
    destination: Destination,
    cursor: str | None,
    overlap: int,
    shape: str,
    before: State | None,
) -> Plan:
    cursor = cursor or (table.key[0] if table.key else None)
    column = next((c for c in table.columns if c.name == cursor), None)
    if column is None:
        raise UsageError(
            f"--mode append: {table.name} has no column {cursor} to tell new rows by: name one as"
            " its cursor."
        )
    if overlap and not table.key:
        raise UsageError(
            f"--mode append: {table.name} has no key, so rows of an overlap would be doubled: leave"
            " the overlap out."
        )
    existing = destination.columns(table.raw_name)
    newest = destination.newest(table.raw_name, column, overlap) if existing else None
    reason = f"rows whose {column.name} is above {newest}" if newest is not None else "first load"
    return Plan(table, arrives, "append", reason, shape, before, after=newest, cursor=column.name)
