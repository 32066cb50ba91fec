"""Destinations: each stages rows, reads them back, and publishes all tables in one transaction."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from ..audit import Record
from ..config import TARGETS
from ..errors import UsageError
from ..ranges import Partition, State
from ..schema import Column, Kind, Table, Type
from ..wire import Block, Tally


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
    """The part of a table that was staged: some key ranges, or (without numbers) only new rows."""

    partition: Partition | None = None
    numbers: frozenset[int] = frozenset()


class Destination(Protocol):
    """What a destination module offers. Nothing is visible to readers before `commit`."""

    # For the audit and for messages; never with a password.
    description: str
    # What a person should know about the connection.
    warnings: list[str]
    # Text may hold a NUL character.
    keeps_nul: bool
    # `read_back` may run in another thread while the next rows are staged.
    reads_aside: bool
    # A table's rows are staged and read back part by part; else all of them at once.
    takes_parts: bool
    # Bytes that a name can have, or none.
    name_limit: int | None
    # Digits after the point that a decimal can have.
    largest_scale: int
    # Bytes that a value of a type can have, where there is a limit; longer ones become null.
    longest: Mapping[Kind, int]

    def open(self) -> None:
        """Take the loader's lock and look around. Raises LoadError; changes nothing."""

    def last_loaded_at(self) -> datetime | None:
        """The newest stamp of an earlier run."""

    def columns(self, raw_table: str) -> dict[str, Type | None] | None:
        """Columns and types of a raw table (None: a type that is not the loader's), or None."""

    def state(self, raw_table: str) -> State | None:
        """What the last run left about a table, as of `open`."""

    def schemas(self) -> dict[str, dict[str, str]]:
        """By raw table: its source columns and how they were declared when last seen."""

    def newest(self, raw_table: str, column: Column, overlap: int) -> str | None:
        """The greatest live value of a column, less an overlap, as the source would write it."""

    def create_staging(self, table: Table, stamp: Stamp) -> None:
        """Make room for the rows of a table where nobody sees them."""

    def stage(self, table: Table, blocks: Iterator[Block]) -> Tally:
        """Write some more rows there; what is returned was counted while sending."""

    def read_back(self, table: Table, rows: int) -> Tally:
        """The next so many staged rows, rendered as wire text again, in the order of staging."""

    def held(self, table: Table) -> Iterator[Block]:
        """The live rows of the published table as wire text, in the types of `table`."""

    def begin_publish(self) -> None:
        """Start the part that readers will see at once."""

    def evolve(self, raw_table: str, added: Sequence[Column], widened: Mapping[str, Type]) -> None:
        """Add columns (null in the rows there are) and widen types; nothing is dropped."""

    def empty(self, raw_table: str) -> None:
        """Remove all rows and tombstones, for a full refresh."""

    def publish(
        self, table: Table, stamp: Stamp, *, keyed: bool, within: Within | None = None
    ) -> Changes:
        """Bring the raw table to the staged state.

        `keyed`: the key is unique and never null. `within`: what was staged is not the whole table;
        rows outside of it are left as they are.
        """

    def save_state(self, raw_table: str, before: State | None, now: State | None) -> None:
        """Keep what the next run compares with, in the same transaction."""

    def commit(self, records: Sequence[Record]) -> None:
        """Make everything visible together with the audit."""

    def record_failure(self, records: Sequence[Record]) -> None:
        """Drop all that was staged; write the failure into the audit, if there is one already."""

    def close(self) -> None:
        """Let go of everything; safe to call twice."""


def open_destination(kind: str, raw_schema: str, connection: Mapping[str, Any]) -> Destination:
    """The destination of a kind of warehouse; `connection` is what its driver needs.

    For "duckdb" that is a `path`, for "postgres" parameters of libpq (those that are left out come
    from the environment), for "redshift" parameters of its driver. Raises UsageError.
    """
    # Each driver is imported only where it is needed.
    if kind == "duckdb":
        from .duckdb import DuckDBDestination

        return DuckDBDestination(raw_schema, connection["path"])
    if kind == "postgres":
        from .postgres import PostgresDestination

        return PostgresDestination(raw_schema, **{n: str(v) for n, v in connection.items()})
    if kind == "redshift":
        from .redshift.settings import redshift_destination

        return redshift_destination(raw_schema, connection)
    raise UsageError(f"The target {kind} is unknown: use {' or '.join(TARGETS)}.")
