"""DuckDB as the warehouse: rows are staged in a file beside it, then published in one transaction.

DuckDB lets one process write. So the warehouse is open only for a moment at the start and for the
publish at the end, not while the source is being read; the staging file is the lock against a
second loader. Where there is no warehouse yet, the staging file becomes the warehouse: its tables
are the raw tables, and the rows are not written again.
"""

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import duckdb

from ..audit import Record
from ..dialects.duckdb import SETTINGS, field_sql, line_sql, lines_of, plain_line_sql
from ..dialects.standard import literal, quote
from ..errors import BusyError, LoadError
from ..lock import FileLock, Lock, holding
from ..ranges import State
from ..schema import MAX_DECIMAL_DIGITS, Column, Kind, Table, Type
from ..wire import Block, Tally
from . import duckdb_memory
from .arrow_later import begin_import, is_arrow_error
from .base import Ask, Changes, KeyFault, Rows, Stamp, Within
from .duckdb_files import (
    attach,
    give_name,
    open_staging,
    refuse_no_file,
    remove_staging,
    what_failed,
)
from .duckdb_kept import KeptFile, LettingGo
from .duckdb_memory import forget, limited
from .sql import SqlDestination

# The warehouse is attached under this name, whatever its file is called.
WAREHOUSE = "the_warehouse"
# Storage versions in which a column can be told to be compressed by a dictionary.
TAKE_DICTIONARY = ("v1.0.", "v1.1.", "v1.2.")
# Rows rendered at a time when reading back; few, because one may have tens of megabytes.
ROWS_PER_BATCH = 10_000
# Rows that are published at a time: whole row groups, which the checkpoint need not merge.
ROWS_PER_PART = 16 * 122_880


class DuckDBDestination(SqlDestination):
    """The warehouse file and, while a load runs, a staging file beside it."""

    has_lock = True
    stores_nul = True
    can_read_back_in_parallel = True
    stages_in_chunks = True
    name_limit: int | None = None
    largest_scale = MAX_DECIMAL_DIGITS
    type_names: ClassVar[Mapping[Kind, str]] = {
        Kind.BOOLEAN: "BOOLEAN",
        Kind.SMALLINT: "SMALLINT",
        Kind.INTEGER: "INTEGER",
        Kind.BIGINT: "BIGINT",
        Kind.DECIMAL: "DECIMAL",
        Kind.DOUBLE: "DOUBLE",
        Kind.DATE: "DATE",
        Kind.TIMESTAMP: "TIMESTAMP",
        Kind.TEXT: "VARCHAR",
        Kind.BINARY: "BLOB",
    }

    def __init__(
        self,
        raw_schema: str,
        path: str | Path,
        place: str | Path = "",
        kept: KeptFile | None = None,
    ) -> None:
        """`place` is what people call the warehouse, where `path` is a copy of it.

        `kept`: the file as a watch of this process may have it open.
        """
        super().__init__(raw_schema)
        self.kept: KeptFile | None = kept
        self.path = Path(path)
        self.place = place or self.path
        self.staging_path = self.path.with_name(self.path.name + ".loading")
        self.description = f"duckdb {self.place}"
        self.warnings: list[str] = []
        # What the warehouse is called in SQL.
        self._catalog = WAREHOUSE
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._existing: dict[str, dict[str, Type | None]] = {}
        self._schemas: dict[str, dict[str, str]] = {}
        self._positions: dict[str, str] = {}
        self._last: datetime | None = None
        # There is no warehouse yet: the staging file is attached in its place.
        self._is_new = False
        # The table that is being staged: what follows its values in a row, and rows read back.
        self._stamp_values = ""
        self._rows_read_back = 0
        # Of each chunk that is not read back yet, whether it has a backslash.
        self._backslashes: deque[bool] = deque()

    def alone(
        self, command: str, say: Callable[[str], None]
    ) -> contextlib.AbstractContextManager[None]:
        """A file beside the warehouse's own, also where `path` is a link to it."""
        file = self.path.resolve()
        refuse_no_file(self.path, self.place)
        lock: Lock = FileLock(file.with_name(f"{file.name}.lock"))
        if self.kept:
            lock = LettingGo(lock, self.kept)
        return holding(lock, str(self.place), command, say)

    def for_batch(self) -> SqlDestination:
        """Into the file as the watch has it open; without `kept`, or a file, as any load."""
        if self.kept is None or not self.path.exists():
            return self
        from .duckdb_batches import DuckDBBatches

        return DuckDBBatches(self, self.kept)

    @property
    def runs_folder(self) -> Path:
        file = Path(self.place).resolve()
        return file.with_name(f"{file.name}.runs")

    @contextlib.contextmanager
    def writing(self) -> Iterator[Ask]:
        if not self.path.exists():
            raise BusyError(f"There is no warehouse {self.place} yet.")
        if self.kept:
            self.kept.release()
        try:
            with duckdb.connect(str(self.path)) as file:
                file.execute("begin")
                yield lambda sql: file.execute(sql).fetchall()
                file.execute("commit")
                # What replaces a warehouse has nothing in a log.
                file.execute("force checkpoint")
        except duckdb.Error as error:
            kind = BusyError if "Could not set lock" in str(error) else LoadError
            raise kind(f"the warehouse {self.place} says: {what_failed(error)}.") from None

    def open(self) -> None:
        """Open the staging file, which is the lock, and read the catalog of the warehouse."""
        refuse_no_file(self.path, self.place)
        if self.kept:
            # A process cannot attach a file that it has open.
            self.kept.release()
        with self._doing("opening it"):
            # Not where it is a link to nothing, which has to stay a link.
            self._is_new = not os.path.lexists(self.path)
            self._connection = open_staging(
                self.staging_path, self.path, self.place, WAREHOUSE if self._is_new else None
            )
            for setting in SETTINGS:
                self._run(f"set {setting}")
            # A chunk goes straight into the staging file, not into its log first.
            self._run("set checkpoint_threshold = '1KB'")
            # The source has work to do meanwhile.
            begin_import()
            if self.path.exists():
                with self._warehouse():
                    self._look()

    def last_loaded_at(self) -> datetime | None:
        return self._last

    def position(self, source: str) -> str | None:
        return self._positions.get(source)

    def columns(self, raw_table: str) -> dict[str, Type | None] | None:
        return self._existing.get(raw_table)

    def _read_states(self) -> dict[str, State]:
        if not self.path.exists():
            return {}
        with self._warehouse():
            return super()._read_states()

    def schemas(self) -> dict[str, dict[str, str]]:
        return self._schemas

    def newest(self, raw_table: str, column: Column, overlap: int) -> str | None:
        unit = "interval 1 second" if column.type.kind is Kind.TIMESTAMP else "1"
        value = f"max({quote(column.raw_name)})" + (f" - {overlap} * {unit}" if overlap else "")
        where = f"from {self._name(raw_table)} where _deleted_at is null"
        with (
            self._doing(f"looking for the newest {raw_table}.{column.raw_name}"),
            self._warehouse(),
        ):
            ((newest,),) = self._rows(f"select cast({value} as varchar) {where}")
        return str(newest) if newest is not None else None

    def create_staging(self, table: Table, stamp: Stamp) -> None:
        """A table in the staging file; the raw table itself where that is to be the warehouse."""
        columns = self.defined({c.raw_name: c.type for c in table.columns})
        with self._doing(f"staging the table {table.raw_name}"):
            self.free_memory()
            self._stamp_values = ""
            if self._is_new:
                self._run(f"create schema if not exists {WAREHOUSE}.{quote(self.schema)}")
                columns = f"{columns}, {self._columns_of_stamp}"
                self._stamp_values = f", {self._stamped(stamp)}"
            self._run(f"create or replace table {self._staged(table)} ({columns})")
        self._rows_read_back = 0
        self._backslashes.clear()

    def stage(self, table: Table, blocks: Iterator[Block]) -> Tally:
        """Insert the rows into the staging file."""
        # Not at the top: see arrow_later.py.
        from .duckdb_values import read_chunk

        with self._doing(f"staging the table {table.raw_name}"):
            chunk = read_chunk(table, blocks, self.type_name)
            if chunk.rows is not None:
                self._open().register("rows", chunk.rows)
                # Committed at once, because uncommitted rows stay in memory.
                self._run(
                    f"insert into {self._staged(table)}"
                    f" select {chunk.values}{self._stamp_values} from rows"
                )
                self._open().unregister("rows")
        self._backslashes.append(chunk.has_backslash)
        return chunk.tally

    def read_back(self, table: Table, rows: int) -> Tally:
        """Render the next rows of the staging file again, on a connection of its own."""
        tally = Tally()
        first, last = self._rows_read_back, self._rows_read_back + rows
        with (
            self._doing(f"reading the table {table.raw_name} back"),
            self._open().cursor() as aside,
        ):
            staged = f"{self._staged(table)} as t limit {rows} offset {first}"
            if self._row_id(table, "t") == "t.rowid":
                # The same rows, but without reading those before them.
                staged = f"{self._staged(table)} where rowid >= {first} and rowid < {last}"
            backslash = self._backslashes.popleft()
            for lines, count in self._rendered(aside, table, staged, {}, plain=not backslash):
                tally.add(lines, count)
        self._rows_read_back = last
        return tally

    def free_memory(self) -> None:
        forget(self._open())

    def key_fault(self, table: Table, rows: Rows) -> KeyFault | None:
        """With a limit where no transaction is open, which an error would end."""
        if rows is Rows.STAGED:
            forget(self._open())
            with contextlib.suppress(LoadError), limited(self._open(), duckdb_memory.FOR_KEYS):
                return super().key_fault(table, rows)
        return super().key_fault(table, rows)

    def held(self, table: Table) -> Iterator[Block]:
        relation = f"{self._name(table.raw_name)} where _deleted_at is null"
        with self._doing(f"reading the table {table.raw_name}"), self._warehouse():
            held = self._existing[table.raw_name]
            for lines, rows in self._rendered(self._open(), table, relation, held):
                yield Block(bytes(lines), rows)

    def _rendered(
        self,
        connection: duckdb.DuckDBPyConnection,
        table: Table,
        relation: str,
        held: Mapping[str, Type | None],
        *,
        plain: bool = False,
    ) -> Iterator[tuple[memoryview, int]]:
        """`plain`: the rows are to be compared with lines that have no backslash."""
        values = [(self._as_sent(column, held), column.type) for column in table.columns]
        line = plain_line_sql(values) if plain else line_sql([field_sql(*v) for v in values])
        return lines_of(connection, f"select {line} from {relation}", ROWS_PER_BATCH)

    def begin_publish(self) -> None:
        """Open the warehouse and begin the one transaction that readers will see."""
        with self._doing("opening it to publish"):
            if not self._is_new:
                self._attach(write=True)
            # No checkpoint within the commit; `commit` below makes one afterwards.
            self._run("set checkpoint_threshold = '1TB'")
            self._run("reset threads")
            self._run("begin")
            self._run(f"create schema if not exists {WAREHOUSE}.{quote(self.schema)}")

    def empty(self, raw_table: str) -> None:
        """Drop the table: `publish` creates it again, and views find it by its name."""
        with self._doing(f"emptying the table {raw_table}"):
            self._run(f"drop table {self._name(raw_table)}")
            del self._existing[raw_table]

    def evolve(self, raw_table: str, added: Sequence[Column], widened: Mapping[str, Type]) -> None:
        super().evolve(raw_table, added, widened)
        held = self._existing.setdefault(raw_table, {})
        held.update({column.raw_name: column.type for column in added} | dict(widened))

    def publish(
        self,
        table: Table,
        stamp: Stamp,
        *,
        keyed: bool,
        within: Within | None = None,
        live: int | None = None,
    ) -> Changes:
        if self.columns(table.raw_name) is not None:
            return super().publish(table, stamp, keyed=keyed, within=within, live=live)
        if self._is_new:
            with self._doing(f"publishing the table {table.raw_name}"):
                rows = self.live_rows(table.raw_name)
            return Changes(inserted=rows, live=rows)
        return self._publish_first(table, stamp)

    def commit(self, records: Sequence[Record]) -> None:
        """Write the audit, commit, and detach the warehouse."""
        with self._doing("committing the load"):
            self._write(records)
            self._run("commit")
            if self._is_new:
                # Nothing may be left in a log, which would keep the name of the staging file.
                self._checkpoint()
                give_name(self.staging_path, self.path, self.place)
        # The rows are safe in the log beside the file; moving them into the file can wait.
        with contextlib.suppress(duckdb.Error, LoadError):
            if not self._is_new:
                self._checkpoint()
            self._run(f"detach {WAREHOUSE}")
            # The staging file is removed, so its rows need not move from its log into it.
            self._run("pragma disable_checkpoint_on_shutdown")

    def _checkpoint(self) -> None:
        """Move the committed rows into the file; without a limit where a row needs more memory."""
        ((before,),) = self._rows("select current_setting('memory_limit')")
        try:
            self._run(f"set memory_limit = '{duckdb_memory.FOR_CHECKPOINT}'")
            self._run(f"checkpoint {WAREHOUSE}")
        except duckdb.Error:
            # Not `reset`, which changes what DuckDB shows but not what it does.
            self._run(f"set memory_limit = '{before}'")
            # DuckDB refuses a file whose checkpoint failed, until it is attached again.
            self._run(f"detach {WAREHOUSE}")
            self._attach(write=True)
            self._run(f"checkpoint {WAREHOUSE}")

    def record_failure(self, records: Sequence[Record]) -> None:
        """Roll back, then record the failure where earlier runs left an audit."""
        if self._connection is None or "_load_runs" not in self._existing:
            return
        for statement in ("rollback", f"detach {WAREHOUSE}"):
            with contextlib.suppress(duckdb.Error):
                self._run(statement)
        # An error while recording must not hide the failure itself.
        with contextlib.suppress(duckdb.Error, LoadError), self._warehouse(write=True):
            self._write(records)

    def close(self) -> None:
        """Close both files and remove the staging file."""
        if self._connection is None:
            return
        self._connection.close()
        self._connection = None
        remove_staging(self.staging_path)

    @contextlib.contextmanager
    def _warehouse(self, *, write: bool = False) -> Iterator[None]:
        self._attach(write=write)
        try:
            yield
        finally:
            self._run(f"detach {WAREHOUSE}")

    def _attach(self, *, write: bool) -> None:
        file = self.staging_path if self._is_new else self.path
        attach(self._open(), file, WAREHOUSE, self.place, write=write)

    def _look(self) -> None:
        self._existing, self._states = {}, None
        for table, column, data_type in self._rows(
            "select table_name, column_name, data_type from duckdb_columns()"
            f" where database_name = {literal(self._catalog)}"
            f" and schema_name = {literal(self.schema)}"
            " order by table_name, column_index"
        ):
            self._existing.setdefault(table, {})[column] = self._type_from(data_type)
        if "_load_runs" in self._existing:
            ((self._last,),) = self._rows(f"select max(started_at) from {self._name('_load_runs')}")
        self._positions = self._read_positions()
        if "_load_schema_changes" in self._existing:
            self._schemas = self._read_schemas()

    @property
    def _batch_id_options(self) -> str:
        """Few values in many rows: other ways to compress them need not be tried.

        A file of a later storage version does not take this one.
        """
        ((version,),) = self._rows(
            "select tags['storage_version'] from duckdb_databases()"
            f" where database_name = {literal(self._catalog)}"
        )
        takes_it = version is not None and version.startswith(TAKE_DICTIONARY)
        return " using compression dictionary" if takes_it else ""

    def _change_type(self, table: str, column: str, kind: Type) -> None:
        # DuckDB binds views when they are used, so they follow the new type.
        self._run(
            f"alter table {self._name(table)} alter column {quote(column)}"
            f" set data type {self.type_name(kind)}"
        )

    def _row_id(self, table: Table, alias: str) -> str:
        if all(column.raw_name != "rowid" for column in table.columns):
            return f"{alias}.rowid"
        # A column of that name hides it. Without a key, equal rows then share one identity: all of
        # them are removed, and the right number is inserted again.
        names = [column.raw_name for column in table.key_columns] or ["rowid"]
        return f"[{', '.join(f'cast({alias}.{quote(name)} as varchar)' for name in names)}]"

    def _create_temporary(self, name: str, query: str) -> str:
        self._run(f"create temporary table {name} as {query}")
        return f"temp.{name}"

    def _bytes(self, digits: str) -> str:
        return f"from_hex('{digits}')"

    def _range_number(self, key: str, kind: Type | None, width: int) -> str:
        return f"cast({key} as hugeint) // {width}"

    def _insert(
        self, table: str, columns: Mapping[str, Type], rows: Sequence[Sequence[Any]]
    ) -> None:
        import pyarrow as pa

        data = {name: [row[n] for row in rows] for n, name in enumerate(columns)}
        self._open().register("new_rows", pa.table(data))
        self._run(f"insert into {self._name(table)} by name select * from new_rows")
        self._open().unregister("new_rows")

    def _name(self, table: str) -> str:
        return f"{quote(self._catalog)}.{quote(self.schema)}.{quote(table)}"

    def _staged(self, table: Table) -> str:
        return self._name(table.raw_name) if self._is_new else f"main.{quote(table.raw_name)}"

    def _staged_parts(self, table: Table) -> Iterator[str]:
        staged = self._staged(table)
        self.free_memory()
        if self._row_id(table, "t") != "t.rowid":
            yield staged
        else:
            ((end,),) = self._rows(f"select coalesce(max(rowid) + 1, 0) from {staged}")
            for first in range(0, end, ROWS_PER_PART):
                yield f"{staged} where rowid >= {first} and rowid < {first + ROWS_PER_PART}"
                self.free_memory()

    def _open(self) -> duckdb.DuckDBPyConnection:
        assert self._connection is not None
        return self._connection

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._open().execute(sql).fetchall()
        return rows

    def _run(self, sql: str) -> int:
        rows = self._rows(sql)
        return int(rows[0][0]) if rows and isinstance(rows[0][0], int) else 0

    @contextlib.contextmanager
    def _doing(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not isinstance(error, duckdb.Error) and not is_arrow_error(error):
                raise
            raise LoadError(f"The warehouse {self.place}, {what}: {what_failed(error)}.") from None
