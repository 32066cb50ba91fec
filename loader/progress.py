"""Progress of a load: a bar on a terminal, plain lines in a log, or nothing."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from .schema import Table


class Progress(Protocol):
    """What a run reports while it works."""

    def begin(self, tables: Sequence[Table]) -> None:
        """These tables will be read."""

    def table(self, table: Table) -> None:
        """This table is read next."""

    def advance(self, rows: int, size: int) -> None:
        """More rows and bytes were read."""

    def end(self) -> None:
        """Nothing more to report; safe to call without `begin`."""


class Silent:
    """Reports nothing."""

    def begin(self, tables: Sequence[Table]) -> None:
        """Nothing."""

    def table(self, table: Table) -> None:
        """Nothing."""

    def advance(self, rows: int, size: int) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


class Lines(Silent):
    """A line every few seconds, for logs; short loads say nothing."""

    def __init__(self, say: Callable[[str], None], every: float = 5.0) -> None:
        self._say = say
        self._every = every
        self._name = ""
        self._rows = self._size = 0
        self._started = self._reported = time.monotonic()

    def table(self, table: Table) -> None:
        """Start counting for this table."""
        self._name, self._rows, self._size = table.raw_name, 0, 0
        self._started = time.monotonic()

    def advance(self, rows: int, size: int) -> None:
        """Count, and print a line when it is time."""
        self._rows += rows
        self._size += size
        now = time.monotonic()
        if now - self._reported >= self._every:
            self._reported = now
            rate = self._size / 1e6 / max(now - self._started, 1e-9)
            self._say(f"{self._name}: {self._rows:,} rows, {rate:.1f} MB/s")


class Bar(Silent):
    """A bar for the table that is being read, with rows and MB per second."""

    def __init__(self) -> None:
        # Imported here, because the import takes longer than a small load.
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("rows  {task.fields[rate]:.1f} MB/s"),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("", rate=0.0)
        self._size = 0
        self._started = time.monotonic()
        self._open = False

    def begin(self, tables: Sequence[Table]) -> None:
        """Show the bar."""
        self._open = True
        self._bar.start()

    def table(self, table: Table) -> None:
        """Start over with this table's name and estimate."""
        self._size, self._started = 0, time.monotonic()
        self._bar.reset(
            self._task, description=table.raw_name, total=table.estimated_rows, rate=0.0
        )

    def advance(self, rows: int, size: int) -> None:
        """Move on."""
        self._size += size
        rate = self._size / 1e6 / max(time.monotonic() - self._started, 1e-9)
        self._bar.update(self._task, advance=rows, rate=rate)

    def end(self) -> None:
        """Take the bar away."""
        if self._open:
            self._bar.stop()
