"""Amazon Redshift as the warehouse: files in S3 and COPY, one transaction from lock to audit.

Rows are staged in temporary tables, each a whole table at a time: by COPY from Parquet files, or by
INSERT where no bucket is set. Nothing here commits before the end: no TRUNCATE, no ALTER TABLE
APPEND, no ALTER COLUMN TYPE.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, islice
from typing import Any

import redshift_connector
from botocore.exceptions import BotoCoreError, ClientError
from redshift_connector.core import Connection
from redshift_connector.error import Error as RedshiftError

from ...audit import STATE_TABLES, Record
from ...dialects.standard import literal, quote
from ...errors import BusyError, LoadError, UsageError
from ...schema import TEXT, Column, Kind, Table, Type
from ...wire import Block, Tally
from ..base import Ask, Changes, Stamp, Within
from .errors import CANCELLED, DENIED, NOT_SERIALIZABLE, code_of, message_of
from .files import StagingFiles
from .rows import (
    BINARY_BYTES,
    INSERTED_BINARY_BYTES,
    TEXT_BYTES,
    RowTally,
    fetched_sql,
    field_of,
    line_sql,
    parameters_of,
    wire_sql,
)
from .sql import RedshiftSql, varchar_bytes

# Limits of one statement: its parameters, and its bytes (the server allows 16 MB).
MOST_PARAMETERS = 32_767
STATEMENT_BYTES = 4_000_000
# Above this, INSERT takes too long.
FEW_ROWS = 100_000
# A cursor returns this many at a time on any size of cluster.
FETCHED_ROWS = 1_000
# Milliseconds to wait for the lock of another loader.
PATIENCE = 5_000


class RedshiftDestination(RedshiftSql):
    """One connection and one transaction for the whole run.

    `connection`: parameters of `redshift_connector.connect`. `role`: what COPY reads `files` as,
    an ARN or `default`. Without `files`, rows go through INSERT.
    """

    stores_nul = False
    can_read_back_in_parallel = False
    stages_in_chunks = False
    name_limit: int | None = 127
    largest_scale = 37

    def __init__(
        self,
        raw_schema: str,
        connection: Mapping[str, Any],
        files: StagingFiles | None = None,
        role: str = "",
    ) -> None:
        super().__init__(raw_schema)
        if files is not None and not role:
            raise UsageError(
                "REDSHIFT_S3_STAGING is set, but not REDSHIFT_IAM_ROLE: set it to the ARN of the"
                " role that COPY reads the bucket as, or to default."
            )
        self._options, self._files, self._role = dict(connection), files, role
        self._connection: Connection | None = None
        self.longest = {
            Kind.TEXT: TEXT_BYTES,
            Kind.BINARY: INSERTED_BINARY_BYTES if files is None else BINARY_BYTES,
        }
        host, port = connection.get("host"), connection.get("port", 5439)
        self.description = f"redshift {host}:{port}/{connection.get('database')}"
        self.warnings: list[str] = []
        self._staging: dict[str, str] = {}
        self._longest_binary = 0
        self._rows_inserted = 0
        self._cursors = 0
        # The run's folder in the bucket, once it has one.
        self._batch: str | None = None

    @contextmanager
    def asking(self) -> Iterator[Callable[[str], list[tuple[Any, ...]]]]:
        """A way to run queries in one transaction, on a connection of its own. Raises LoadError."""
        self._connect()
        try:
            with self._doing("asking"):
                yield self._rows
        finally:
            self.close()

    @contextmanager
    def writing(self) -> Iterator[Ask]:
        self._connect()

        def ask(sql: str) -> list[tuple[Any, ...]]:
            cursor = self._open().cursor()
            cursor.execute(sql)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

        try:
            with self._doing("recording a run"):
                yield ask
                self._open().commit()
        finally:
            self.close()

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of one query. Raises LoadError."""
        with self.asking() as ask:
            return ask(sql)

    def open(self) -> None:
        """Connect, take the lock, and begin the transaction."""
        self._connect()
        self._states = None
        with self._doing("beginning the load"):
            self._open().autocommit = True
            for setting in (
                "datestyle to 'ISO, YMD'",
                "timezone to 'UTC'",
                # All digits of doubles in text, because rows are compared as text.
                "extra_float_digits to 2",
            ):
                self._run(f"set {setting}")
            is_new = self.columns("_load_state") is None
            self._open().autocommit = False
        self._lock(is_new)

    def _connect(self) -> None:
        try:
            # Few prepared statements at a time, because INSERT statements are large.
            self._connection = redshift_connector.connect(
                **self._options,
                application_name="classicmodels loader",
                timeout=30,
                max_prepared_statements=10,
            )
        except (RedshiftError, BotoCoreError, ClientError, OSError, ValueError) as error:
            raise LoadError(
                f"The warehouse {self.description} cannot be opened: {message_of(error)}."
            ) from None
        # A timeout of the socket would end long statements.
        self._connection._usock.settimeout(None)

    def columns(self, raw_table: str) -> dict[str, Type | None] | None:
        found = self._declared(raw_table)
        return {name: self._type_from(text) for name, text in found.items()} or None

    def newest(self, raw_table: str, column: Column, overlap: int) -> str | None:
        value = f"max({quote(column.raw_name)})"
        if overlap and column.type.kind is Kind.TIMESTAMP:
            value = f"dateadd(second, -{overlap}, {value})"
        elif overlap:
            value = f"{value} - {overlap}"
        with self._doing(f"looking for the newest {raw_table}.{column.raw_name}"):
            ((newest,),) = self._rows(
                f"select {wire_sql(value, column.type)} from {self._name(raw_table)}"
                " where _deleted_at is null"
            )
        return newest  # type: ignore[no-any-return]

    def create_staging(self, table: Table, stamp: Stamp) -> None:
        """A temporary table."""
        if "\\" in table.raw_name:
            # In a literal, Redshift reads a backslash as the start of an escape.
            raise LoadError(f"The table {table.name} has a backslash in its name: exclude it.")
        if self._batch is None and self._files is not None:
            self._files.open(self._place())
            self._files.remove_older(stamp.batch_id)
            self._batch = stamp.batch_id
        self._staging[table.raw_name] = f"_load_staged_{len(self._staging)}"
        with self._doing(f"staging the table {table.raw_name}"):
            self._run(f"create temporary table {self._staged(table)} ({self._columns_of(table)})")

    def stage(self, table: Table, blocks: Iterator[Block]) -> Tally:
        """COPY all rows of a table, or insert them."""
        tally = RowTally(table)

        def counted() -> Iterator[Block]:
            for block in blocks:
                tally.add(block.data, block.rows)
                yield block

        with self._doing(f"staging the table {table.raw_name}"):
            if self._files is not None:
                self._copy(self._files, table, counted())
            else:
                self._insert_all(table, counted())
                self._rows_inserted += tally.rows
        if self._rows_inserted > FEW_ROWS and not self.warnings:
            self.warnings.append(
                f"More than {FEW_ROWS:,} rows went through INSERT, which is slow: set"
                " REDSHIFT_S3_STAGING and REDSHIFT_IAM_ROLE, so that COPY loads them from S3."
            )
        self._longest_binary = tally.longest_binary
        return tally

    def read_back(self, table: Table, rows: int) -> Tally:
        """Digests of all rows, calculated by the server; with doubles, the rows themselves."""
        tally = RowTally(table)
        with self._doing(f"reading the table {table.raw_name} back"):
            if any(column.type.kind is Kind.DOUBLE for column in table.columns):
                # The text of a double differs between servers; as a number it is exact.
                for block in self._rendered(table, self._staged(table), {}):
                    tally.add(block.data, block.rows)
            else:
                line = line_sql(
                    [(quote(c.raw_name), c.type) for c in table.columns], self._longest_binary
                )
                ((found, size, *sums),) = self._rows(
                    "select count(*), sum(octet_length(line)),"
                    f" {', '.join(f'sum(strtol(substring(digest, {n}, 15), 16))' for n in (1, 16))}"
                    f" from (select line, md5(line) as digest from"
                    f" (select {line} as line from {self._staged(table)}) as lines) as digests"
                )
                tally.rows, tally.size = int(found), int(size or 0)
                tally.sums = [int(part or 0) for part in sums]
        return tally

    def held(self, table: Table) -> Iterator[Block]:
        with self._doing(f"reading the table {table.raw_name}"):
            yield from self._rendered(
                table,
                f"{self._name(table.raw_name)} where _deleted_at is null",
                self.columns(table.raw_name) or {},
            )

    def begin_publish(self) -> None:
        """Nothing to do: everything is in one transaction already."""

    def publish(
        self,
        table: Table,
        stamp: Stamp,
        *,
        keyed: bool,
        within: Within | None = None,
        live: int | None = None,
    ) -> Changes:
        held = self._declared(table.raw_name)
        if not held:
            return self._publish_first(table, stamp)
        with self._doing(f"changing the columns of {table.raw_name}"):
            for column in table.columns:
                wanted = self._column_type(column)
                if column.type == TEXT and varchar_bytes(held[column.raw_name]) < varchar_bytes(
                    wanted
                ):
                    self._replace_column(
                        table.raw_name, column.raw_name, quote(column.raw_name), wanted
                    )
        return super().publish(table, stamp, keyed=keyed, within=within, live=live)

    def commit(self, records: Sequence[Record]) -> None:
        """Write the audit and commit."""
        with self._doing("committing the load"):
            self._write(records)
            self._open().commit()

    def record_failure(self, records: Sequence[Record]) -> None:
        """Roll back, then record the failure where earlier runs left an audit."""
        if self._connection is None:
            return
        # An error while recording must not hide the failure itself.
        with suppress(RedshiftError, OSError, LoadError):
            self._connection.rollback()
            if self.columns("_load_runs"):
                self._write(records)
                self._connection.commit()

    def close(self) -> None:
        """Close the connection, which rolls back what is open, and remove the run's files."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(RedshiftError, OSError):
                connection.close()
        batch, self._batch = self._batch, None
        if batch is not None and self._files is not None:
            # If S3 no longer answers, the next run removes them.
            with suppress(LoadError):
                self._files.remove(batch)

    # -- staging ---------------------------------------------------------------------------------

    def _copy(self, files: StagingFiles, table: Table, blocks: Iterator[Block]) -> None:
        assert self._batch is not None
        folder = files.write(self._batch, table, len(self._staging), blocks)
        if folder is None:
            return
        role = "default" if self._role == "default" else literal(self._role)
        try:
            self._run(
                f"copy {self._staged(table)} from {literal(folder)} iam_role {role}"
                " format as parquet"
            )
        except RedshiftError as error:
            raise LoadError(
                f"{self.description}, copying the table {table.raw_name} from {folder}:"
                f" {message_of(error)}{self._load_error(folder)}."
            ) from None
        files.remove(self._batch)

    def _load_error(self, folder: str) -> str:
        """What Redshift noted about a COPY that failed."""
        try:
            self._open().rollback()
            found = self._rows(
                "select trim(column_name), trim(error_message) from sys_load_error_detail"
                f" where left(file_name, {len(folder)}) = {literal(folder)}"
                " order by start_time desc limit 1"
            )
        except (RedshiftError, OSError):
            found = []
        if found:
            return "; column {}: {}".format(*found[0])
        return " (sys_load_error_detail and stl_load_errors may say more)"

    def _insert_all(self, table: Table, blocks: Iterator[Block]) -> None:
        self._insert_rows(
            self._staged(table),
            {column.raw_name: column.type for column in table.columns},
            (
                parameters_of(line, table)
                for block in blocks
                for line in block.data.split(b"\n")[:-1]
            ),
        )

    def _insert_rows(
        self, table: str, columns: Mapping[str, Type], rows: Iterator[Sequence[str | None]]
    ) -> None:
        """Many rows in a statement, each value as text that is cast to its column's type."""
        most = MOST_PARAMETERS // len(columns)
        one = ", ".join(
            "from_hex(?)" if kind.kind is Kind.BINARY else f"cast(? as {self.type_name(kind)})"
            for kind in columns.values()
        )
        into = f"insert into {table} ({', '.join(map(quote, columns))}) values "
        waiting: list[str | None] = []
        size = 0

        def send() -> None:
            rows = len(waiting) // len(columns)
            cursor = self._open().cursor()
            cursor.paramstyle = "qmark"
            cursor.execute(into + ", ".join([f"({one})"] * rows), tuple(waiting))
            waiting.clear()

        for row in rows:
            waiting.extend(row)
            size += sum(len(value) for value in row if value is not None)
            if len(waiting) >= most * len(columns) or size >= STATEMENT_BYTES:
                send()
                size = 0
        if waiting:
            send()

    def _insert(
        self, table: str, columns: Mapping[str, Type], rows: Sequence[Sequence[Any]]
    ) -> None:
        as_text = ([None if value is None else str(value) for value in row] for row in rows)
        self._insert_rows(self._name(table), columns, as_text)

    def _rendered(
        self, table: Table, relation: str, held: Mapping[str, Type | None]
    ) -> Iterator[Block]:
        values = [(self._as_sent(column, held), column.type) for column in table.columns]
        sizes = {
            value: self._rows(f"select max(octet_length({value})) from {relation}")[0][0]
            for value, kind in values
            if kind.kind is Kind.BINARY
        }
        # Of a binary value there are as many columns as its hex needs.
        fields = [fetched_sql(value, kind, sizes.get(value) or 0) for value, kind in values]
        names = ", ".join(f"{part} as c{n}" for n, part in enumerate(chain.from_iterable(fields)))
        # The driver remembers statements by their text, and what columns they give.
        self._cursors += 1
        cursor = f"_load_rows_{self._cursors}"
        self._run(f"declare {cursor} cursor for select {names} from {relation}")
        while rows := self._rows(f"fetch forward {FETCHED_ROWS} from {cursor}"):
            lines = []
            for row in rows:
                parts = iter(row)
                lines.append(
                    b"\t".join(
                        field_of(list(islice(parts, len(found))), kind.kind)
                        for found, (_, kind) in zip(fields, values, strict=True)
                    )
                )
            yield Block(b"\n".join(lines) + b"\n", len(rows))
        self._run(f"close {cursor}")

    # -- the connection --------------------------------------------------------------------------

    def _lock(self, is_new: bool) -> None:
        """Take the loader's lock, a table that only loaders read.

        When the very first load fails, the table disappears again.
        """
        try:
            self._run(f"set statement_timeout to {PATIENCE}")
            if is_new:
                named = f"select 1 from pg_namespace where nspname = {literal(self.schema)}"
                # A user who may not create schemas may still load into an existing one.
                if not self._rows(named):
                    self._run(f"create schema {quote(self.schema)}")
                self._create_tables(STATE_TABLES)
            self._run(f"lock table {self._name('_load_state')}")
            self._run("set statement_timeout to 0")
        except (RedshiftError, OSError) as error:
            if code_of(error) != CANCELLED:
                raise LoadError(
                    f"{self.description}, taking the lock: {self._explained(error)}."
                ) from None
            raise BusyError(
                f"Another load into {self.schema} of {self.description} is running:"
                " wait until it ends."
            ) from None

    def _place(self) -> str:
        """A name for this warehouse and raw schema among those that share the bucket."""
        place = f"{self.description} {self.schema}"
        return f"loader-{hashlib.sha256(place.encode()).hexdigest()[:12]}"

    def _staged(self, table: Table) -> str:
        return self._staging[table.raw_name]

    def _open(self) -> Connection:
        assert self._connection is not None
        return self._connection

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        cursor = self._open().cursor()
        cursor.execute(sql)
        return [tuple(row) for row in cursor.fetchall()]

    def _run(self, sql: str) -> int:
        cursor = self._open().cursor()
        cursor.execute(sql)
        return int(cursor.rowcount)

    @contextmanager
    def _doing(self, what: str) -> Iterator[None]:
        try:
            yield
        except (RedshiftError, OSError) as error:
            raise LoadError(f"{self.description}, {what}: {self._explained(error)}.") from None

    def _explained(self, error: Exception) -> str:
        if code_of(error) is None:
            return "the connection was lost; nothing was changed"
        text = message_of(error)
        if code_of(error) == DENIED:
            text += "; grant it to the loader's user (docs/redshift.md)"
        elif code_of(error) == NOT_SERIALIZABLE:
            text += "; somebody else wrote into the same tables meanwhile, so load again"
        elif "depend" in text and "column" in text:
            text += "; create the view again with no schema binding, or drop it for the load"
        return text
