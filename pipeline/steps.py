"""The lines that a build prints while it runs: one for each step, and the progress of the load."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

from loader.progress import Silent
from loader.schema import Table
from pipeline.output import Output


class Steps:
    """Prints one line for each step: its name, its seconds and its result."""

    def __init__(
        self, started: float, output: Output | None = None, *, silent: bool = False
    ) -> None:
        self.started, self.output, self._is_silent = started, output or Output(), silent
        self.terminal = sys.stdout.isatty() and not silent

    @contextlib.contextmanager
    def step(self, name: str, since: float | None = None) -> Iterator[list[str]]:
        """Time a step. It prints the notes that the caller puts into the list."""
        began = since or time.monotonic()
        notes: list[str] = []
        self.progress(name)
        try:
            yield notes
        finally:
            self._erase()
        if self._is_silent:
            return
        seconds = time.monotonic() - began
        if self.output.step(name, seconds, notes):
            return
        first, *others = notes or [""]
        print(f"  {name:<12}{seconds:5.1f} s  {first}".rstrip())
        for line in others:
            print(f"{'':<21}{line}")
        sys.stdout.flush()

    def progress(self, text: str) -> None:
        """Show what happens now, on a terminal only."""
        if self.terminal:
            sys.stdout.write(f"\r\033[K  {text[:76]}")
            sys.stdout.flush()

    def _erase(self) -> None:
        if self.terminal:
            sys.stdout.write("\r\033[K")


class LoadProgress(Silent):
    """Shows the loader's progress on the line of its step."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._name = ""
        self._rows = 0

    def table(self, table: Table) -> None:
        """Start to count the rows of a table."""
        self._name, self._rows = table.raw_name, 0

    def advance(self, rows: int, size: int) -> None:
        """Show the rows so far."""
        self._rows += rows
        self._steps.progress(f"load  {self._name}: {self._rows:,} rows")
