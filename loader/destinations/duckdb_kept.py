"""A DuckDB file that a watch keeps open from batch to batch.

To open a file costs the reading of its catalog, and to close it a checkpoint: both grow with the
warehouse, and not with the batch. All connections of one process to one file share what is open.
"""

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import duckdb

from ..errors import LoadError
from ..lock import Lock
from .duckdb_files import PATIENCE, opened

# Rows are read back by their offsets, of 64 bits; all others read rows as Python's objects.
SETTINGS = ("arrow_large_buffer_size = true", "enable_progress_bar = false")


class KeptFile:
    """The file, which is open from `connect` until `release`. For one thread at a time.

    Nothing else of this process may open and close it as a plain file meanwhile: that would give up
    the lock by which DuckDB keeps other processes away.
    """

    def __init__(
        self,
        path: str | Path,
        place: str | Path = "",
        config: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """`place` is what people call it; `config` what all of this process open it with."""
        self.path, self._place, self._config = Path(path), place or path, dict(config)
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._file: os.stat_result | None = None
        # By time.monotonic().
        self.opened_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether this process has the file open, and it still has its name."""
        if self._connection is not None and not self._has_its_name:
            # Another file was moved there: what is written here, nobody would see.
            self.release()
        return self._connection is not None

    @property
    def is_wanted(self) -> bool:
        """Whether another process has, or waits with, the lock of all that write."""
        file = self.path.resolve()
        return file.with_name(f"{file.name}.lock").exists()

    @property
    def _has_its_name(self) -> bool:
        try:
            return self._file is not None and os.path.samestat(self._file, self.path.stat())
        except OSError:
            return False

    def connect(self, patience: float = PATIENCE) -> duckdb.DuckDBPyConnection:
        """A connection of its own to the file, which is opened if it is not open.

        Waits some seconds for a program that has it open. Raises LoadError, duckdb.Error.
        """
        if not self.is_open:
            self._connection = opened(self.path, self._place, self._config, patience)
            self._file, self.opened_at = self.path.stat(), time.monotonic()
            for setting in SETTINGS:
                self._connection.execute(f"set {setting}")
        assert self._connection is not None
        return self._connection.cursor()

    def prepare(self) -> None:
        """Open the file if it is there and free. Raises LoadError."""
        if not self.path.exists():
            return
        try:
            self.connect(0.0).close()
        except duckdb.Error as error:
            raise LoadError(f"The warehouse {self._place} cannot be opened: {error}.") from None

    def release(self) -> None:
        """Let others have the file: DuckDB brings its log into it and closes it.

        Where that fails, the log stays, and whoever opens the file next reads it.
        """
        if self._connection is not None:
            with contextlib.suppress(duckdb.Error):
                self._connection.close()
            self._connection = None


class LettingGo:
    """A lock; where another process has it, that one may want the file too."""

    def __init__(self, lock: Lock, kept: KeptFile) -> None:
        self._lock, self._kept = lock, kept

    def take(self, who: str) -> str | None:
        """As the lock does."""
        holder = self._lock.take(who)
        if holder:
            self._kept.release()
        return holder

    def release(self) -> None:
        """As the lock does."""
        self._lock.release()
