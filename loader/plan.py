"""How each table will be read, and why."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from .destinations import Destination, Within
from .errors import UsageError
from .options import Options
from .ranges import (
    FEWEST_ROWS,
    Digests,
    Key,
    Partition,
    Scope,
    State,
    changed,
    fingerprint,
)
from .schema import TEXT, Table
from .sources import Source
from .wire import HASH_LENGTH

# The mode of a table that cannot be read in the requested mode.
REFUSED = "refused"
# If changed ranges hold more than this share of the rows, one plain read costs less.
MOSTLY_CHANGED = 0.5


@dataclass
class Plan:
    """What a run will ask the source for one table, and what is known before."""

    # The table in the source; and as it arrives, with hashed columns as text.
    source_table: Table
    table: Table
    mode: str
    reason: str
    fingerprint: str
    before: State | None = None
    partition: Partition | None = None
    # Digests of all ranges, if the source was asked for them.
    now: Digests = field(default_factory=Digests)
    numbers: frozenset[int] = frozenset()
    after: str | None = None
    cursor: str | None = None
    # The keys to read, and whether the source must have each of them.
    keys: Mapping[Key, bool] | None = None
    # When rows with these keys were first committed, where that is wanted.
    commits: Mapping[Key, datetime] = field(default_factory=dict)

    @property
    def reads_nothing(self) -> bool:
        """Whether the digests say that nothing changed."""
        return self.mode == "diff" and not self.numbers

    @property
    def expected_rows(self) -> int | None:
        """Rows that will be read, as far as the source knows before."""
        if self.mode == "diff":
            return sum(self.now[number].rows for number in self.numbers if number in self.now)
        if self.keys is not None:
            return sum(self.keys.values())
        return None if self.after is not None else self.source_table.estimated_rows

    @property
    def scope(self) -> Scope:
        """The rows to ask for."""
        if self.keys is not None:
            return Scope(keys=sorted(self.keys))
        if self.mode == "append" and self.after is not None:
            column = next(c for c in self.source_table.columns if c.name == self.cursor)
            return Scope(after=(column, self.after))
        if self.mode == "diff":
            there = frozenset(number for number in self.numbers if number in self.now)
            return Scope(self.partition, there)
        return Scope(self.partition)

    @property
    def within(self) -> Within | None:
        """The part of the published table that the staged rows replace."""
        if self.mode == "diff":
            return Within(self.partition, self.numbers)
        if self.keys is not None:
            return Within(keys=sorted(self.keys), commits=self.commits)
        return Within() if self.mode == "append" and self.after is not None else None

    def state(self, read: Digests) -> State | None:
        """What to store for the next run; `read` are the digests of a full read."""
        if self.partition is None:
            return None
        digests = self.now if self.mode == "diff" else read
        return State(self.fingerprint, self.partition.width, digests)


def arriving(table: Table) -> Table:
    """The table with its hashed columns as text."""
    columns = tuple(
        replace(c, type=TEXT, note=None, length=HASH_LENGTH) if c.hashed else c
        for c in table.columns
    )
    return replace(table, columns=columns)


def refuse_unfit(plans: Iterable[Plan]) -> None:
    """Raise UsageError that names every table that cannot be read in the requested mode."""
    refused: dict[str, list[str]] = {}
    for plan in plans:
        if plan.mode == REFUSED:
            refused.setdefault(plan.reason, []).append(plan.source_table.name)
    if refused:
        raise UsageError(
            "; ".join(f"{', '.join(names)}: {reason}" for reason, names in refused.items()) + "."
        )


def plan_of_keys(table: Table, keys: Mapping[Key, bool], commits: Mapping[Key, datetime]) -> Plan:
    """To read the rows of these keys only, which a watcher has heard of."""
    reason, shape = f"{len(keys)} keys changed", fingerprint(table)
    return Plan(table, arriving(table), "keys", reason, shape, keys=keys, commits=commits)


def make_plan(table: Table, source: Source, destination: Destination, options: Options) -> Plan:
    """Choose between reading all, what changed by the source's digests, and what was appended.

    The mode is `refused` where the requested one is impossible.
    """
    asked = options.of(table.name)
    shape = fingerprint(table)
    before = destination.state(table.raw_name)
    first = destination.columns(table.raw_name) is None
    arrives = arriving(table)
    reads_all = options.full_refresh or asked.mode == "full"
    if asked.mode == "append" and not reads_all:
        return _append(table, arrives, destination, asked.cursor, asked.overlap, shape, before)
    # A range is found again in the warehouse by its key, so the key must arrive as it is.
    divisible = bool(table.key) and not table.key_columns[0].hashed
    if before is not None and before.fingerprint == shape and not first and not reads_all:
        known = Partition(table.key_columns[0], before.width)
        now = source.digests(table, known, before.digests)
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
        reason = (
            f"--mode diff needs an integer key that is not hashed, and {FEWEST_ROWS:,} rows or more"
            " in MySQL or PostgreSQL: use full or auto"
        )
        return Plan(table, arrives, REFUSED, reason, shape)
    if reads_all:
        reason = "asked for"
    elif first:
        reason = "first load"
    elif partition is None:
        reason = "few rows, or no integer key"
    else:
        reason = "no digests of its present columns yet"
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
    # In a longer key, a new row may share its first column with old rows; and text need not grow.
    grows = len(table.key) == 1 and table.key_columns[0].type != TEXT
    named = cursor or (table.key[0] if grows else None)
    column = next((c for c in table.columns if c.name == named), None)
    unfit = ""
    if column is None and cursor:
        unfit = f"finds no column {cursor}: name another as the cursor"
    elif column is None:
        unfit = "needs a column that grows, and the key is not one number or time: set a cursor"
    elif column.hashed:
        unfit = f"cannot go by {column.name}, which is hashed: name another as the cursor"
    elif overlap and not table.key:
        unfit = "would double the rows of an overlap, as there is no key: leave the overlap out"
    if column is None or unfit:
        return Plan(table, arrives, REFUSED, f"--mode append {unfit}", shape)
    existing = destination.columns(table.raw_name)
    newest = destination.newest(table.raw_name, column, overlap) if existing else None
    reason = f"rows whose {column.name} is above {newest}" if newest is not None else "first load"
    return Plan(table, arrives, "append", reason, shape, before, after=newest, cursor=column.name)
