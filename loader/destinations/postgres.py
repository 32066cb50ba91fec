"""PostgreSQL as the warehouse: COPY in, COPY out to compare, one transaction from lock to audit.

A new table is filled in place: the transaction hides it until the commit. Its columns of metadata
are added when the rows are there: then PostgreSQL keeps their one value with the table and not in
each row. An existing table stays, with its views and grants: rows are staged in a temporary table,
then the difference is applied.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import psycopg
from psycopg.conninfo import make_conninfo

from ..audit import Record
from ..dialects.postgres import (
    ALIVE,
    SETTINGS,
    TYPE_NAMES,
    blocks_of_copy,
    connection_problem,
    connection_warnings,
    copied_out,
    hang_up,
    is_lost,
    nothing_answers,
    said,
    server_alive,
)
from ..dialects.standard import literal, quote
from ..errors import BusyError, LoadError, SilentError
from ..lock import holding
from ..schema import BIGINT, INTEGER, MAX_DECIMAL_DIGITS, SMALLINT, Column, Kind, Table, Type
from ..wire import NULL, Block, CalculatedTally, Tally, has_escapes
from .arrow_later import begin_import
from .base import Ask, Changes, KeyFault, Rows, Stamp, Within
from .postgres_indexes import make_indexes, missing_indexes
from .postgres_lines import MOST_ARGUMENTS, field_sql, line_sql, widest_row
from .postgres_lock import SessionLock
from .postgres_maintain import maintain
from .postgres_views import views_aside
from .sql import SqlDestination

if TYPE_CHECKING:
    from .ascending import Ascending

# Seconds to wait for the lock of another loader.
PATIENCE = 5.0
# Milliseconds until rows that were sent are taken: a busy server may take them late.
SLOWLY = {"tcp_user_timeout": "120000"}
# Lifts those of the role.
NO_LIMITS = (
    "select set_config(name, '0', false) from pg_settings where name in ('statement_timeout',"
    " 'idle_session_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout')"
)
# The class of errors about limits: columns of a table, bytes of a row.
LIMITS = "54"
# Rows from which on their keys are looked at while they are sent: with the time that it takes to
# import Arrow, and without.
MANY_ROWS, SOME_ROWS = 1_000_000, 10_000
PLAIN_INTEGERS = (SMALLINT, INTEGER, BIGINT)


class PostgresDestination(SqlDestination):
    """One connection and one transaction for the whole run."""

    has_lock = True
    stores_nul = False
    can_read_back_in_parallel = False
    stages_in_chunks = True
    name_limit: int | None = 63
    largest_scale = MAX_DECIMAL_DIGITS
    type_names = TYPE_NAMES

    def __init__(self, raw_schema: str, **connection_options: str) -> None:
        super().__init__(raw_schema)
        self._options = connection_options
        self._connection: psycopg.Connection | None = None
        # All that are in use, also that of the lock.
        self._connections = WeakSet[psycopg.Connection]()
        # New tables, without their columns of metadata until `begin_publish`.
        self._fresh: dict[str, Stamp] = {}
        self._changed: set[str] = set()
        # For the table that is being staged: rows so far, the place of the last row that was read
        # back, and whether rows after it were sent with escapes, or with nulls.
        self._rows_staged: dict[str, int] = {}
        self._last_row = ""
        self._has_escapes = self._has_nulls = False
        # Looks at the keys of that table, if it is a large one.
        self._keys: Ascending | None = None
        self.description = "postgres"
        self.warnings: list[str] = []

    def alone(self, command: str, say: Callable[[str], None]) -> AbstractContextManager[None]:
        """A lock of a session that does nothing else, by the raw schema."""
        info = self._options
        place = f"{self.schema} of {info.get('dbname') or os.environ.get('PGDATABASE', 'postgres')}"
        return holding(SessionLock(self.connect, self.schema), place, command, say)

    def connect(self, **more: str) -> psycopg.Connection:
        """A connection of its own to the warehouse, with more parameters of libpq."""
        settings = ", ".join(
            f"set_config('{name}', '{value}', false)" for name, value in server_alive().items()
        )
        with self._logging_in(more) as connection:
            self._connections.add(connection)
            connection.execute(f"select {settings}".encode())
            connection.autocommit = False
        return connection

    def greet(self) -> None:
        with self._logging_in({}) as connection:
            connection.close()

    def abort(self) -> None:
        for connection in list(self._connections):
            hang_up(connection)

    @contextmanager
    def _logging_in(self, more: Mapping[str, str]) -> Iterator[psycopg.Connection]:
        options = {
            "host": os.environ.get("PGHOST", "localhost"),
            "connect_timeout": "10",
            "client_encoding": "utf8",
        } | {**ALIVE, **more, **self._options}
        try:
            yield psycopg.connect(make_conninfo(**options), autocommit=True)
        except psycopg.Error as error:
            where = f"{options['host']}:{options.get('port', os.environ.get('PGPORT', '5432'))}"
            if loader := os.environ.get("LOADER_PGUSER"):
                where += f" (user {loader})"  # dbt has another
            kind = SilentError if nothing_answers(error) else LoadError
            raise kind(
                f"The PostgreSQL warehouse at {where} cannot be opened: {connection_problem(error)}"
            ) from None

    @contextmanager
    def writing(self) -> Iterator[Ask]:
        with closing(self.connect()) as connection:

            def ask(sql: str) -> list[tuple[Any, ...]]:
                cursor = connection.execute(sql.encode())
                return cursor.fetchall() if cursor.description else []

            try:
                yield ask
                connection.commit()
            except psycopg.Error as error:
                raise LoadError(f"PostgreSQL says: {said(error)}.") from None

    def open(self) -> None:
        """Connect, take the lock, and begin the transaction."""
        connection = self.connect(**SLOWLY)
        self._connection, self._states = connection, None
        info = connection.info
        self.description = f"postgres {info.host}:{info.port}/{info.dbname}"
        self.warnings = connection_warnings(connection, "warehouse")
        with self._doing("beginning the load"):
            for setting in (
                *SETTINGS,
                "standard_conforming_strings = on",
                # Rows come back in the order in which they were staged.
                "synchronize_seqscans = off",
                "max_parallel_workers_per_gather = 0",
                "lock_timeout = '60s'",
                # The server ends the session of a killed loader, even in the middle of a statement.
                "client_connection_check_interval = '1s'",
            ):
                self._run(f"set {setting}")
            # A load is one transaction, which waits for the source.
            self._run(NO_LIMITS)
            free = self._lock()
        if not free:
            raise BusyError(
                f"Another load into {self.schema} of {self.description} is running:"
                " wait until it ends."
            )

    def columns(self, raw_table: str) -> dict[str, Type | None] | None:
        rows = self._rows(
            "select a.attname, format_type(a.atttypid, a.atttypmod) from pg_attribute as a"
            f" where a.attrelid = to_regclass({literal(self._name(raw_table))})"
            " and a.attnum > 0 and not a.attisdropped order by a.attnum"
        )
        return {name: self._type_from(text) for name, text in rows} or None

    def newest(self, raw_table: str, column: Column, overlap: int) -> str | None:
        unit = "interval '1 second'" if column.type.kind is Kind.TIMESTAMP else "1"
        value = f"max({quote(column.raw_name)})" + (f" - {overlap} * {unit}" if overlap else "")
        with self._doing(f"looking for the newest {raw_table}.{column.raw_name}"):
            ((newest,),) = self._rows(
                f"select cast({value} as text) from {self._name(raw_table)}"
                " where _deleted_at is null"
            )
        return newest  # type: ignore[no-any-return]

    def expect(self, tables: Sequence[Table]) -> None:
        """Import Arrow meanwhile, if one of them is new and large."""
        large = [table for table in tables if (table.estimated_rows or 0) >= MANY_ROWS]
        if any(self.columns(table.raw_name) is None for table in large):
            begin_import()

    def create_staging(self, table: Table, stamp: Stamp) -> None:
        """The raw table itself when it is new, else a temporary table."""
        columns = self.defined({c.raw_name: c.type for c in table.columns})
        with self._doing(f"staging the table {table.raw_name}"):
            if self.columns(table.raw_name) is None:
                self._fresh[table.raw_name] = stamp
                # A user who may not create schemas may still load into an existing one.
                ((missing,),) = self._rows(
                    f"select to_regnamespace({literal(quote(self.schema))}) is null"
                )
                if missing:
                    self._run(f"create schema {quote(self.schema)}")
                self._run(f"create table {self._name(table.raw_name)} ({columns})")
            else:
                self._run(f"create temp table {self._staged(table)} ({columns}) on commit drop")
        self._rows_staged[table.raw_name] = 0
        self._last_row = "(0,0)"
        self._keys = None
        least = SOME_ROWS if "pyarrow" in sys.modules else MANY_ROWS
        if table.raw_name in self._fresh and (table.estimated_rows or 0) >= least:
            # Not at the top: for a smaller load the import takes longer than it saves.
            from .ascending import Ascending

            self._keys = Ascending(table)

    def stage(self, table: Table, blocks: Iterator[Block]) -> Tally:
        """COPY the rows in."""
        tally = Tally()
        self._has_escapes = self._has_nulls = False
        sent: list[bytes] = []
        with self._doing(f"staging the table {table.raw_name}", table, sent):
            names = ", ".join(quote(c.raw_name) for c in table.columns)
            freeze = " (freeze)" if table.raw_name in self._fresh else ""
            statement = f"copy {self._staged(table)} ({names}) from stdin{freeze}"
            with self._open().cursor() as cursor, cursor.copy(statement) as copy:
                for block in blocks:
                    sent.append(block.data)
                    copy.write(block.data)
                    tally.add(block.data, block.rows)
                    if self._keys is not None:
                        self._keys.add(block)
                    # A backslash begins both; one that is not there is found fastest.
                    if b"\\" in block.data:
                        self._has_escapes = self._has_escapes or has_escapes(block.data)
                        self._has_nulls = self._has_nulls or NULL in block.data
        return tally

    def read_back(self, table: Table, rows: int) -> Tally:
        """A digest of all rows since the last call: their lines stay in the server."""
        nulls = self._has_nulls or len(table.columns) > MOST_ARGUMENTS
        line = line_sql(table, escapes=self._has_escapes, nulls=nulls)
        where = f"ctid > '{self._last_row}'"
        if not nulls:
            # A null that was not sent is missing in the count.
            where += f" and num_nulls({', '.join(quote(c.raw_name) for c in table.columns)}) = 0"
        with self._doing(f"reading the table {table.raw_name} back"):
            ((found, size, digest, last),) = self._rows(
                "select found, octet_length(lines), encode(sha256(lines), 'hex'), last from (select"
                f" convert_to(string_agg({line}, E'\\n') || E'\\n', 'UTF8') as lines,"
                f" count(*) as found, max(ctid)::text as last from {self._staged(table)}"
                f" where {where}) as chunk"
            )
        if not found:
            return Tally()
        self._last_row = last
        self._rows_staged[table.raw_name] += found
        return CalculatedTally(found, size, calculated=digest)

    def key_fault(self, table: Table, rows: Rows) -> KeyFault | None:
        """What was sent tells as well, because it was read back, and faster."""
        if rows is Rows.STAGED and self._keys is not None and self._keys.proved:
            return None
        return super().key_fault(table, rows)

    def held(self, table: Table) -> Iterator[Block]:
        with self._doing(f"reading the table {table.raw_name}"):
            yield from self._rendered(
                table, f"{self._name(table.raw_name)} where _deleted_at is null"
            )

    def _rendered(self, table: Table, relation: str) -> Iterator[Block]:
        held = self.columns(table.raw_name) or {}
        fields = ", ".join(
            field_sql(self._as_sent(column, held), column.type) for column in table.columns
        )
        yield from blocks_of_copy(
            copied_out(self._open(), f"copy (select {fields} from {relation}) to stdout")
        )

    def begin_publish(self) -> None:
        """Give new tables their columns of metadata; all is in one transaction already."""
        for table, stamp in self._fresh.items():
            with self._doing(f"publishing the table {table}"):
                self._run(
                    f"alter table {self._name(table)}"
                    f" add _loaded_at timestamp not null default {literal(stamp.loaded_at)},"
                    f" add _batch_id text not null default {literal(stamp.batch_id)},"
                    " add _deleted_at timestamp"
                )
                self._run(
                    f"alter table {self._name(table)} alter _loaded_at drop default,"
                    " alter _batch_id drop default"
                )

    def publish(
        self,
        table: Table,
        stamp: Stamp,
        *,
        keyed: bool,
        within: Within | None = None,
        live: int | None = None,
    ) -> Changes:
        name = self._name(table.raw_name)
        if table.raw_name in self._fresh:
            rows = self._rows_staged[table.raw_name]
            changes = Changes(inserted=rows, live=rows)
            changed = 0
        else:
            with self._doing(f"publishing the table {table.raw_name}"):
                self._run(f"analyze {self._staged(table)}")
            changes = super().publish(table, stamp, keyed=keyed, within=within, live=live)
            changed = changes.inserted + changes.updated + changes.deleted
        self._make_indexes(table, changed, changes.live)
        # A watcher's batches are many and small: autovacuum looks after these.
        is_batch = within is not None and within.keys is not None
        if changes.inserted + changes.updated + changes.deleted and not is_batch:
            self._changed.add(name)
        return changes

    def _make_indexes(self, table: Table, changed: int, rows: int) -> None:
        name, held = self._name(table.raw_name), self.columns(table.raw_name) or {}
        key = [column.raw_name for column in table.key_columns]
        with self._doing(f"indexing the table {table.raw_name}"):
            statements = missing_indexes(self._open(), name, key, held, changed, rows)
            self.warnings += [
                f"{table.raw_name} got no index, so builds take longer: {why}."
                for why in make_indexes(self._open(), statements)
            ]

    def commit(self, records: Sequence[Record]) -> None:
        """Write the audit and commit; afterwards refresh the planner's statistics."""
        with self._doing("committing the load"):
            self._write(records)
            self._open().commit()
        fresh = {self._name(table) for table in self._fresh}
        # Rows that COPY wrote frozen need no vacuum.
        statements = (
            f"analyze {name}" if name in fresh else f"vacuum (analyze) {name}"
            for name in sorted(self._changed)
        )
        maintain(self._open(), self.connect, [NO_LIMITS], statements)

    def record_failure(self, records: Sequence[Record]) -> None:
        """Roll back, then record the failure where earlier runs left an audit."""
        connection = self._connection
        if connection is None or connection.closed:
            return
        try:
            connection.rollback()
            if self.columns("_load_runs"):
                self._write(records)
                connection.commit()
        except (psycopg.Error, LoadError):
            # An error while recording must not hide the failure itself.
            pass

    def close(self) -> None:
        """Close the connection, which rolls back an open transaction."""
        if self._connection is not None:
            self._connection.close()

    def _lock(self) -> bool:
        """Take the loader's lock. A loader that was just killed may hold it for another moment."""
        deadline = time.monotonic() + PATIENCE
        while True:
            ((free,),) = self._rows(
                "select pg_try_advisory_xact_lock(hashtext('classicmodels loader'),"
                f" hashtext({literal(self.schema)}))"
            )
            if free or time.monotonic() > deadline:
                return bool(free)
            time.sleep(0.1)

    def _change_type(self, table: str, column: str, kind: Type) -> None:
        with views_aside(self._open(), self.schema, self._name(table)):
            name, new = quote(column), self.type_name(kind)
            self._run(
                f"alter table {self._name(table)} alter column {name} type {new}"
                f" using cast({name} as {new})"
            )

    def prepare_commits(self) -> None:
        super().prepare_commits()
        table = self._name("_load_commits")
        index = literal(self._name("_load_commits_row_key"))
        ((missing,),) = self._rows(f"select to_regclass({index}) is null")
        # Not `if not exists`, which locks the table against all who write even where it exists.
        if missing:
            statement = f"create index _load_commits_row_key on {table} (row_key)"
            make_indexes(self._open(), [statement])

    def _row_id(self, table: Table, alias: str) -> str:
        return f"{alias}.ctid"

    def _create_temporary(self, name: str, query: str) -> str:
        self._run(f"create temporary table {name} on commit drop as {query}")
        # Without statistics the planner expects few rows, and would look up each of them.
        self._run(f"analyze pg_temp.{name}")
        return f"pg_temp.{name}"

    def _range_number(self, key: str, kind: Type | None, width: int) -> str:
        # `/` is faster, but truncates only where both sides are integers.
        return f"{key} / {width}" if kind in PLAIN_INTEGERS else f"div({key}, {width})"

    def _insert(
        self, table: str, columns: Mapping[str, Type], rows: Sequence[Sequence[Any]]
    ) -> None:
        names = ", ".join(map(quote, columns))
        statement = f"copy {self._name(table)} ({names}) from stdin"
        with self._open().cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)

    def _staged(self, table: Table) -> str:
        if table.raw_name in self._fresh:
            return self._name(table.raw_name)
        return f'"pg_temp".{quote(table.raw_name)}'

    def _open(self) -> psycopg.Connection:
        assert self._connection is not None
        return self._connection

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self._open().execute(sql).fetchall()

    def _run(self, sql: str) -> int:
        return self._open().execute(sql).rowcount

    @contextmanager
    def _doing(
        self, what: str, table: Table | None = None, sent: Sequence[bytes] = ()
    ) -> Iterator[None]:
        """`sent`: the lines of a table that COPY was given, to name one that it refuses."""
        try:
            yield
        except psycopg.Error as error:
            if is_lost(self._open(), error):
                text = "the connection was lost; nothing was changed"
            else:
                text = said(error)
                if (error.sqlstate or "").startswith(LIMITS):
                    text += (widest_row(error, table, sent) if table else "") + (
                        "; leave columns out with --exclude-columns, or load into DuckDB, which has"
                        " no such limit"
                    )
                elif isinstance(error, psycopg.errors.InsufficientPrivilege):
                    text += f"; grant it to the user {self._open().info.user}"
                elif isinstance(error, psycopg.errors.OutOfMemory):
                    text += (
                        "; one transaction needs a few locks for each table: raise"
                        " max_locks_per_transaction on the server, or --select fewer tables"
                    )
            raise LoadError(f"{self.description}, {what}: {text}.") from None
