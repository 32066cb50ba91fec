"""What a watcher asks of a load: which keys and tables to read, and the position to store."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from .destinations import Destination
from .drift import SchemaChange
from .errors import LoadError
from .plan import Plan, plan_of_keys
from .ranges import Key
from .result import LoadResult, TableResult
from .schema import Table
from .sources import Source
from .urls import SourceUrl

# By key, whether the log says that the source has a row with it now.
Keys = Mapping[Key, bool]


class KeysDifferError(LoadError):
    """The source has other rows than its log says; `table` is the raw name."""

    def __init__(self, table: str, text: str) -> None:
        super().__init__(text)
        self.table = table


@dataclass
class Part:
    """What one batch reads.

    `source`: a snapshot whose place in the log is known. `tables`: by raw name the keys to read
    again, or None for the whole table; without `tables` everything is compared.
    """

    source: Source
    # Names the source where the position is stored.
    place: str
    tables: Mapping[str, Keys | None] | None
    # By raw name, the key columns that the keys are of.
    key_columns: Mapping[str, tuple[str, ...]]
    # The position to store, from the raw tables of which rows were matched by their key.
    position: Callable[[Mapping[str, bool]], str]
    # Of `tables`, those in which no log told of a change.
    untold: frozenset[str] = frozenset()
    # By raw table that is compared as a whole, how many deleted rows a log told of.
    gone: Mapping[str, int] = field(default_factory=dict)
    # By raw table, when rows with some of these keys were first committed: seconds of the epoch.
    commits: Mapping[str, Mapping[Key, float]] = field(default_factory=dict)
    # The snapshot is read once more afterwards, so it stays open.
    is_read_again: bool = False
    # Live rows by raw table, as of the run that began then; None where nobody knows.
    live: Mapping[str, int] = field(default_factory=dict)
    as_of: datetime | None = None

    @property
    def is_small(self) -> bool:
        """Whether rows are read by their keys alone."""
        return self.tables is not None and None not in self.tables.values()

    def live_rows(self, table: Table, last: datetime | None) -> int | None:
        """The live rows of a table, if the last run is the one that is known."""
        return self.live.get(table.raw_name) if last == self.as_of else None

    def chosen(
        self, tables: Sequence[Table], changes: Sequence[SchemaChange], destination: Destination
    ) -> tuple[list[Table], list[SchemaChange]]:
        """What of the source to read: tables that changed, and tables that are new."""
        if self.tables is None:
            return list(tables), list(changes)
        news = {change.table for change in changes}
        chosen = [
            table
            for table in tables
            if table.raw_name in self.tables
            or table.raw_name in news
            or destination.columns(table.raw_name) is None
        ]
        return chosen, list(changes)

    def tells(self, table: str) -> bool:
        """Whether a log told that rows of it may be gone: then it is no mistake that they are."""
        return self.tables is not None and table in self.tables and table not in self.untold

    def plan(
        self, table: Table, changes: Sequence[SchemaChange], destination: Destination
    ) -> Plan | None:
        """How to read a table by its keys; None where it is to be compared as a whole."""
        keys = self._keys(table, changes, destination)
        if keys is None:
            return None
        commits = {
            key: datetime.fromtimestamp(at, UTC).replace(tzinfo=None)
            for key, at in self.commits.get(table.raw_name, {}).items()
        }
        return plan_of_keys(table, keys, commits)

    def _keys(
        self, table: Table, changes: Sequence[SchemaChange], destination: Destination
    ) -> Keys | None:
        if self.tables is None:
            return None
        keys = self.tables.get(table.raw_name)
        as_told = (
            keys is not None
            and table.key == self.key_columns.get(table.raw_name)
            and destination.columns(table.raw_name) is not None
            and not any(column.hashed for column in table.key_columns)
            and all(change.table != table.raw_name for change in changes)
        )
        return keys if as_told else None


def place_of(url: SourceUrl) -> str:
    """A source without its user, for whom the log is the same."""
    schema = url.options.get("schema")
    return f"{url.scheme}://{url.address}/{url.database}" + (f"?schema={schema}" if schema else "")


def check_keys(entry: TableResult) -> None:
    """Raise where the source has other rows than its log says, which has not told everything."""
    keys = entry.plan.keys
    if keys is not None and entry.rows_read != sum(keys.values()):
        raise KeysDifferError(
            entry.table.raw_name,
            f"{entry.table.name}: of {len(keys)} changed keys the source has {entry.rows_read}, but"
            f" its log says {sum(keys.values())}",
        )


def save_position(
    destination: Destination, part: Part | None, result: LoadResult, url: SourceUrl
) -> None:
    """Store how far a watcher has come; forget it where rows of another source were loaded."""
    if part is not None:
        keyed = {entry.table.raw_name: entry.keyed for entry in result.tables}
        destination.save_position(part.place, part.position(keyed))
    elif destination.columns("_load_position") and destination.position(place_of(url)) is None:
        destination.save_position(place_of(url), None)


def stored_position(destination: Destination, place: str) -> dict[str, Any] | None:
    """What was stored of a source, if it says a place in its log."""
    try:
        destination.open()
        text = destination.position(place)
    finally:
        destination.close()
    found: dict[str, Any] | None = json.loads(text) if text else None
    return found if found and found["log"] else None
