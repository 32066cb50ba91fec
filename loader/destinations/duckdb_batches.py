"""DuckDB as the warehouse of a watch's small batches, into a file that stays open."""

import contextlib
from collections.abc import Iterator, Sequence

import duckdb

from ..audit import Record
from ..dialects.standard import quote
from ..errors import LoadError
from ..schema import Table
from .arrow_later import begin_import
from .base import KeyFault, Rows
from .duckdb import DuckDBDestination
from .duckdb_files import refuse_no_file
from .duckdb_kept import KeptFile
from .sql import SqlDestination

# Where rows are staged: in memory, as they are few.
STAGING = "the_staging"


class DuckDBBatches(DuckDBDestination):
    """Stages beside the tables and publishes into them; the log is left for `kept` to take in.

    The watch has the lock of all that write, so no file has to be one.
    """

    def __init__(self, whole: DuckDBDestination, kept: KeptFile) -> None:
        """`whole`: the same warehouse for what is not small."""
        super().__init__(whole.schema, whole.path, whole.place, kept)
        self._file = kept

    def open(self) -> None:
        """Connect to the file, and read its catalog."""
        refuse_no_file(self.path, self.place)
        with self._doing("opening it"):
            self._connection = self._file.connect()
            begin_import()
            ((self._catalog,),) = self._rows("select current_database()")
            # Of a batch that failed.
            self._run(f"detach database if exists {STAGING}")
            self._run(f"attach ':memory:' as {STAGING}")
            self._look()

    def free_memory(self) -> None:
        """Nothing is worth it: a batch is small, and what was read is read again by the next."""

    def key_fault(self, table: Table, rows: Rows) -> KeyFault | None:
        """Without a limit of memory, as rows are few."""
        return SqlDestination.key_fault(self, table, rows)

    def begin_publish(self) -> None:
        """Begin the one transaction that readers will see."""
        with self._doing("opening it to publish"):
            self._run("begin")
            self._run(f"create schema if not exists {quote(self._catalog)}.{quote(self.schema)}")

    def commit(self, records: Sequence[Record]) -> None:
        """Write the audit, and commit."""
        with self._doing("committing the load"):
            self._write(records)
            self._run("commit")

    def record_failure(self, records: Sequence[Record]) -> None:
        """Roll back, then record the failure; on a new file, as the error may have closed it."""
        if self._connection is None:
            return
        has_audit = "_load_runs" in self._existing
        self.close()
        self._file.release()
        if not has_audit:
            return
        # An error while recording must not hide the failure itself.
        with contextlib.suppress(duckdb.Error, LoadError):
            self._connection = self._file.connect()
            self._run("begin")
            self._write(records)
            self._run("commit")

    def close(self) -> None:
        """Close the connection, not the file."""
        if self._connection is None:
            return
        with contextlib.suppress(duckdb.Error):
            self._run("rollback")
        with contextlib.suppress(duckdb.Error):
            self._run(f"detach database if exists {STAGING}")
        self._connection.close()
        self._connection = None

    @contextlib.contextmanager
    def _warehouse(self, *, write: bool = False) -> Iterator[None]:
        yield

    def _staged(self, table: Table) -> str:
        return f"{STAGING}.main.{quote(table.raw_name)}"
