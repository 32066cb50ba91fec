"""The contract of a destination: what a run asks of it, in this order."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from ..audit import Record
from ..ranges import Key, Partition, State
from ..schema import Column, Kind, Table, Type
from ..wire import Block, Tally

Ask = Callable[[str], list[tuple[Any, ...]]]


@dataclass(frozen=True)
class Stamp:
    """What marks the rows that a run writes."""

    batch_id: str
    # UTC, without a zone; later than that of every earlier run.
    loaded_at: datetime


@dataclass(frozen=True)
class Changes:
    """Rows of one table that a run wrote, and how many live ones there are now."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    live: int = 0


@dataclass(frozen=True)
class Within:
    """The part of a table that was staged: some key ranges, some keys, or (without any of these)
    only new rows.
    """

    partition: Partition | None = None
    numbers: frozenset[int] = frozenset()
    keys: Sequence[Key] | None = None
    # When rows with these keys, of one column, were first committed at the source (UTC).
    commits: Mapping[Key, datetime] = field(default_factory=dict)

    @property
    def shows_deleted(self) -> bool:
        """Whether a row of the part that was not staged is gone."""
        return self.partition is not None or self.keys is not None


class Rows(Enum):
    """Which rows of a table: those that were staged, or the published ones."""

    STAGED = "staged"
    LIVE = "published, without tombstones"
    PUBLISHED = "published"


@dataclass(frozen=True)
class KeyFault:
    """Rows that share their key with another or have a null in it; the key of one, as text."""

    rows: int
    sample: str


class Kept(Protocol):
    """A file of the warehouse that stays open between batches, as long as nobody else wants it."""

    opened_at: float

    @property
    def is_open(self) -> bool:
        """Whether this process has it open."""

    @property
    def is_wanted(self) -> bool:
        """Whether another process waits for it, as far as that can be seen."""

    def prepare(self) -> None:
        """Open it if it is free. Raises LoadError where it cannot be opened."""

    def release(self) -> None:
        """Let others have it."""


class Destination(ABC):
    """A warehouse, as a run uses it. Readers see nothing of a run before `commit`.

    What writes or reads rows raises LoadError, in one sentence, when the warehouse refuses.
    """

    # For the audit and for messages; never with a password.
    description: str
    # What a person should know about the connection.
    warnings: list[str]
    # Text may hold a NUL character.
    stores_nul: bool
    # `read_back` may run in another thread while the next rows are staged.
    can_read_back_in_parallel: bool
    # A table's rows are staged and read back chunk by chunk; else all of them at once.
    stages_in_chunks: bool
    # Bytes that a name can have, or none.
    name_limit: int | None
    # Digits after the point that a decimal can have.
    largest_scale: int
    # Bytes that a value of a type can have, where there is a limit; longer ones become null.
    longest: Mapping[Kind, int]
    # A file that stays open between batches of a watch, if there is one.
    kept: Kept | None = None
    # `alone` keeps others away, so that who has it knows that nobody else has.
    has_lock = False

    @property
    def runs_folder(self) -> Path | None:
        """Where runs are recorded that cannot be written into the warehouse at once."""
        return None

    @abstractmethod
    def writing(self) -> contextlib.AbstractContextManager[Ask]:
        """How to run statements, without `open`, which are committed together at the end.

        Raises LoadError; BusyError where somebody else has a file open, or there is none yet.
        """

    def alone(
        self, command: str, say: Callable[[str], None]
    ) -> contextlib.AbstractContextManager[None]:
        """Keep other commands that write into this warehouse away, before `open`.

        `command` is what they are told; `say` receives a line before a wait. Raises BusyError.
        """
        return contextlib.nullcontext()

    def for_batch(self) -> "Destination":
        """The same warehouse for a small batch of a watch, which has the lock of `alone`."""
        return self

    @abstractmethod
    def open(self) -> None:
        """Take the loader's lock and read what earlier runs left.

        Raises LoadError; changes nothing.
        """

    @abstractmethod
    def last_loaded_at(self) -> datetime | None:
        """The newest stamp of an earlier run."""

    @abstractmethod
    def columns(self, raw_table: str) -> dict[str, Type | None] | None:
        """Columns and types of a raw table (None: a type that is not the loader's), or None."""

    @abstractmethod
    def state(self, raw_table: str) -> State | None:
        """What the last run left about a table, as of `open`."""

    @abstractmethod
    def schemas(self) -> dict[str, dict[str, str]]:
        """By raw table: its source columns and how they were declared when last seen.

        A table that is gone from the source has none.
        """

    @abstractmethod
    def newest(self, raw_table: str, column: Column, overlap: int) -> str | None:
        """The greatest live value of a column, less an overlap, as the source would write it."""

    def expect(self, tables: Sequence[Table]) -> None:
        """Prepare for these tables, which will be staged next, without waiting for anything."""
        return

    @abstractmethod
    def create_staging(self, table: Table, stamp: Stamp) -> None:
        """Make room for the rows of a table where readers do not see them."""

    @abstractmethod
    def stage(self, table: Table, blocks: Iterator[Block]) -> Tally:
        """Write some more rows there; the tally is counted while they are sent."""

    @abstractmethod
    def read_back(self, table: Table, rows: int) -> Tally:
        """The next `rows` staged rows, rendered as wire text again, in the order of staging."""

    def free_memory(self) -> None:
        """Give back memory between two chunks; called while none is staged or read back."""
        return

    @abstractmethod
    def key_fault(self, table: Table, rows: Rows) -> KeyFault | None:
        """Why the table's key is not unique and never null among these rows; None where it is.

        Nulls do not count for `Rows.PUBLISHED`: they are equal to no staged key.
        """

    @abstractmethod
    def live_rows(self, raw_table: str) -> int:
        """Published rows that have no tombstone."""

    @abstractmethod
    def held(self, table: Table) -> Iterator[Block]:
        """The live rows of the published table as wire text, in the types of `table`."""

    @abstractmethod
    def begin_publish(self) -> None:
        """Start the part that readers will see at once."""

    @abstractmethod
    def evolve(self, raw_table: str, added: Sequence[Column], widened: Mapping[str, Type]) -> None:
        """Add columns (null in existing rows) and widen types; nothing is dropped."""

    @abstractmethod
    def empty(self, raw_table: str) -> None:
        """Remove all rows and tombstones, for a full refresh."""

    @abstractmethod
    def publish(
        self,
        table: Table,
        stamp: Stamp,
        *,
        keyed: bool,
        within: Within | None = None,
        live: int | None = None,
    ) -> Changes:
        """Bring the raw table to the staged state.

        `keyed`: the key is unique and never null, as `key_fault` finds. `within`: what was staged
        is not the whole table; rows outside of it are left as they are. `live`: how many live rows
        it has now, where that is known; else they are counted, which reads the whole table.
        """

    @abstractmethod
    def save_state(self, raw_table: str, before: State | None, now: State | None) -> None:
        """Store what the next run compares with, in the same transaction."""

    @abstractmethod
    def forget_digests(self, raw_table: str, keys: Collection[Key]) -> None:
        """Let the stored digests of these keys' ranges match nothing, in the same transaction.

        What was read by its key has no digest: a row that goes back to an old value would else be
        taken for one that never changed.
        """

    @abstractmethod
    def position(self, source: str) -> str | None:
        """How far a watcher has read the log of a source, as of `open`; None for another source."""

    @abstractmethod
    def save_position(self, source: str, position: str | None) -> None:
        """Store that, in the same transaction; None forgets it."""

    @abstractmethod
    def commit(self, records: Sequence[Record]) -> None:
        """Make everything visible together with the audit."""

    @abstractmethod
    def record_failure(self, records: Sequence[Record]) -> None:
        """Drop all that was staged; write the failure into the audit, if there is one already."""

    def greet(self) -> None:  # noqa: B027
        """See that the warehouse answers. Raises LoadError."""

    def abort(self) -> None:  # noqa: B027
        """End what waits for the warehouse; from another thread."""

    @abstractmethod
    def close(self) -> None:
        """Release everything that `open` took; safe to call twice, and without `open`."""
