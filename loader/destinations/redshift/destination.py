"""Amazon Redshift as the warehouse: files in S3 and COPY, one transaction from lock to audit.

Rows are staged in temporary tables, each a whole table at a time: by COPY from Parquet files, or by
INSERT where no bucket is set. Nothing here commits before the end: no TRUNCATE, no ALTER TABLE
APPEND, no ALTER COLUMN TYPE.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, islice
from typing import Any, ClassVar

import redshift_connector
from botocore.exceptions import BotoCoreError, ClientError
from redshift_connector.core import Connection
from redshift_connector.error import Error as RedshiftError

from ...audit import STATE_TABLES, Record
from ...errors import LoadError, UsageError
from ...schema import METADATA_COLUMNS, TEXT, Column, Kind, Table, Type
from ...wire import NULL, Block, Tally, binary_field, double_field, escape, unescape
from .. import Changes, Stamp, Within
from ..base import Merge, SqlDestination, literal, quote
from ..postgres import PostgresDestination
from .files import StagingFiles

# What a varchar can have at most.
TEXT_BYTES = 65_535
CHARACTER_BYTES = 4
# More than any number has as text.
NUMBER_BYTES = 50
# COPY takes rows of 4 MB; in a statement a value is hex text, in a varchar.
BINARY_BYTES = 4_000_000
INSERTED_BINARY_BYTES = TEXT_BYTES // 2
# Of a binary value this much is digested at a time, because its hex must fit into a varchar.
DIGESTED_BYTES = 32_000
# A statement has at most so many parameters, and 16 MB with them.
MOST_PARAMETERS = 32_767
STATEMENT_BYTES = 4_000_000
# Beyond so many rows, INSERT takes too long.
FEW_ROWS = 100_000
# A cursor gives so many at a time on any size of cluster.
FETCHED_ROWS = 1_000
# Milliseconds to wait for the lock of another loader.
PATIENCE = 5_000
CANCELLED, DENIED, NOT_SERIALIZABLE = "57014", "42501", "1023"


class RedshiftDestination(SqlDestination):
    """One connection and one transaction for the whole run.

    `connection`: parameters of `redshift_connector.connect`. `role`: what COPY reads `files` as,
    an ARN or `default`. Without `files` rows are inserted.
    """

    keeps_nul = False
    reads_aside = False
    takes_parts = False
    name_limit: int | None = 127
    largest_scale = 37
    TYPE_NAMES: ClassVar[Mapping[Kind, str]] = {
        **PostgresDestination.TYPE_NAMES,
        Kind.TEXT: f"character varying({TEXT_BYTES})",
        Kind.BINARY: f"varbyte({BINARY_BYTES})",
    }
    # What is read most is what came last; no key, so that any column can be replaced by a wider.
    TABLE_OPTIONS: ClassVar[str] = " diststyle even sortkey (_loaded_at)"

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
        # The run's, once it has put something there.
        self._batch: str | None = None

    @contextmanager
    def asking(self) -> Iterator[Callable[[str], list[tuple[Any, ...]]]]:
        """How to ask queries of one moment, on a connection of its own. Raises LoadError."""
        self._connect()
        try:
            with self._doing("asking"):
                yield self._rows
        finally:
            self.close()

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of one query. Raises LoadError."""
        with self.asking() as ask:
            return ask(sql)

    def open(self) -> None:
        """Connect, take the lock, and begin the transaction."""
        self._connect()
        with self._doing("beginning the load"):
            self._open().autocommit = True
            for setting in (
                "datestyle to 'ISO, YMD'",
                "timezone to 'UTC'",
                # Doubles as text, for what compares rows inside: all digits.
                "extra_float_digits to 2",
            ):
                self._run(f"set {setting}")
            is_new = self.columns("_load_state") is None
            self._open().autocommit = False
        self._lock(is_new)
        with self._doing("reading its state"):
            if self.columns("_load_ranges"):
                self._states = self._read_states()

    def _connect(self) -> None:
        try:
            # Few statements are kept prepared, because those that insert are large.
            self._connection = redshift_connector.connect(
                **self._options,
                application_name="classicmodels loader",
                timeout=30,
                max_prepared_statements=10,
            )
        except (RedshiftError, BotoCoreError, ClientError, OSError, ValueError) as error:
            raise LoadError(
                f"The warehouse {self.description} cannot be opened: {_message(error)}."
            ) from None
        # A socket that times out would end statements that take long.
        self._connection._usock.settimeout(None)

    def columns(self, raw_table: str) -> dict[str, Type | None] | None:
        """Columns and types of a raw table, or None when it is not there."""
        found = self._declared(raw_table)
        return {name: self._type_from(text) for name, text in found.items()} or None

    def newest(self, raw_table: str, column: Column, overlap: int) -> str | None:
        """The greatest live value of a column, less an overlap."""
        value = f"max({quote(column.raw_name)})"
        if overlap and column.type.kind is Kind.TIMESTAMP:
            value = f"dateadd(second, -{overlap}, {value})"
        elif overlap:
            value = f"{value} - {overlap}"
        with self._doing(f"looking for the newest {raw_table}.{column.raw_name}"):
            ((newest,),) = self._rows(
                f"select {_wire(value, column.type)} from {self._name(raw_table)}"
                " where _deleted_at is null"
            )
        return newest  # type: ignore[no-any-return]

    def create_staging(self, table: Table, stamp: Stamp) -> None:
        """A temporary table."""
        if "\\" in table.raw_name:
            # In a literal Redshift reads it as the beginning of an escape.
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
        """Digests of all rows, calculated there; with doubles, the rows themselves."""
        tally = RowTally(table)
        with self._doing(f"reading the table {table.raw_name} back"):
            if any(column.type.kind is Kind.DOUBLE for column in table.columns):
                # Their text differs between servers; as numbers they come to the last bit.
                for block in self._rendered(table, self._staged(table), {}):
                    tally.add(block.data, block.rows)
            else:
                line = _line(
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
        """The live rows of the published table, in the types of `table`."""
        with self._doing(f"reading the table {table.raw_name}"):
            yield from self._rendered(
                table,
                f"{self._name(table.raw_name)} where _deleted_at is null",
                self.columns(table.raw_name) or {},
            )

    def begin_publish(self) -> None:
        """Everything is in one transaction already."""

    def publish(
        self, table: Table, stamp: Stamp, *, keyed: bool, within: Within | None = None
    ) -> Changes:
        """Apply the difference between the staged and the published rows."""
        held = self._declared(table.raw_name)
        if not held:
            return self._publish_first(table, stamp)
        with self._doing(f"changing the columns of {table.raw_name}"):
            for column in table.columns:
                wanted = self._column_type(column)
                if column.type == TEXT and _length(held[column.raw_name]) < _length(wanted):
                    self._replace_column(
                        table.raw_name, column.raw_name, quote(column.raw_name), wanted
                    )
        return super().publish(table, stamp, keyed=keyed, within=within)

    def commit(self, records: Sequence[Record]) -> None:
        """Write the audit and commit."""
        with self._doing("committing the load"):
            self._write(records)
            self._open().commit()

    def record_failure(self, records: Sequence[Record]) -> None:
        """Roll back, then note the failure where earlier runs left an audit."""
        if self._connection is None:
            return
        # The failure itself is what the person hears about; the audit of it is second to that.
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
            # Where S3 does not answer any more, the next run removes them.
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
                f" {_message(error)}{self._load_error(folder)}."
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
            (_parameters(line, table) for block in blocks for line in block.data.split(b"\n")[:-1]),
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

    # -- SQL that differs ------------------------------------------------------------------------

    def _merge(self, table: Table, stamp: Stamp, within: Within | None) -> Merge:
        return _RedshiftMerge(self, table, stamp, within)

    def _column_type(self, column: Column) -> str:
        if column.type == TEXT and column.length:
            return f"character varying({min(column.length * CHARACTER_BYTES, TEXT_BYTES)})"
        return self.type_name(column.type)

    def _cast(self, value: str, before: Type, after: Type) -> str:
        if (before.kind, after.kind) == (Kind.BOOLEAN, Kind.TEXT):
            return f"case when {value} then 'true' when not {value} then 'false' end"
        if (before.kind, after.kind) == (Kind.TEXT, Kind.BOOLEAN):
            return f"case {value} when 'true' then true when 'false' then false end"
        return super()._cast(value, before, after)

    def _equal(self, left: str, right: str, kind: Type) -> str:
        # Blanks at the end do not count when texts are compared.
        length = f" and octet_length({left}) = octet_length({right})" if kind == TEXT else ""
        return f"{left} = {right}{length}"

    def _differ(self, left: str, right: str, kind: Type) -> str:
        length = f" or octet_length({left}) <> octet_length({right})" if kind == TEXT else ""
        return (
            f"({left} <> {right}{length} or {left} is null and {right} is not null"
            f" or {right} is null and {left} is not null)"
        )

    def _row_id(self, table: Table, alias: str) -> str:
        held = (self.columns(table.raw_name) or {}) if alias == "t" else {}
        columns = table.key_columns or table.columns
        fields = [(f"{alias}.{quote(c.raw_name)}", held.get(c.raw_name) or c.type) for c in columns]
        if len(fields) == 1 and fields[0][1] != TEXT:
            return fields[0][0]
        return f"md5({_line(fields)})"

    def _create_temporary(self, name: str, query: str) -> str:
        self._run(f"create temporary table {name} as {query}")
        return name

    def _range_number(self, key: str, kind: Type | None, width: int) -> str:
        # Without a rest, a division of decimals has nothing to round.
        return f"({key} - mod({key}, {width})) / {width}"

    def _change_type(self, table: str, column: str, kind: Type) -> None:
        before = (self.columns(table) or {})[column]
        value = quote(column) if before is None else self._cast(quote(column), before, kind)
        self._replace_column(table, column, value, self.type_name(kind))

    def _replace_column(self, table: str, column: str, value: str, type_name: str) -> None:
        """Another column in the place of one, for its type cannot change within a transaction."""
        name = self._name(table)
        self._run(f"alter table {name} add column _load_replacement {type_name}")
        self._run(f"update {name} set _load_replacement = {value}")
        self._run(f"alter table {name} drop column {quote(column)}")
        self._run(f"alter table {name} rename column _load_replacement to {quote(column)}")

    def _insert(
        self, table: str, columns: Mapping[str, Type], rows: Sequence[Sequence[Any]]
    ) -> None:
        as_text = ([None if value is None else str(value) for value in row] for row in rows)
        self._insert_rows(self._name(table), columns, as_text)

    def _type_from(self, text: str) -> Type | None:
        for kind, name in ((Kind.TEXT, "character varying"), (Kind.BINARY, "binary varying")):
            if text.partition("(")[0] in (name, self.TYPE_NAMES[kind].partition("(")[0]):
                return Type(kind)
        return super()._type_from(text)

    def _declared(self, raw_table: str) -> dict[str, str]:
        """Columns of a raw table, and their types as the catalog has them."""
        return dict(
            self._rows(
                "select a.attname, format_type(a.atttypid, a.atttypmod) from pg_attribute as a"
                " inner join pg_class as c on a.attrelid = c.oid"
                " inner join pg_namespace as n on c.relnamespace = n.oid"
                f" where n.nspname = {literal(self.schema)} and c.relname = {literal(raw_table)}"
                " and a.attnum > 0 and not a.attisdropped order by a.attnum"
            )
        )

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
        fields = [_fetched(value, kind, sizes.get(value) or 0) for value, kind in values]
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
                        _field(list(islice(parts, len(found))), kind.kind)
                        for found, (_, kind) in zip(fields, values, strict=True)
                    )
                )
            yield Block(b"\n".join(lines) + b"\n", len(rows))
        self._run(f"close {cursor}")

    # -- the connection --------------------------------------------------------------------------

    def _lock(self, is_new: bool) -> None:
        """Take the loader's lock, a table that nobody else reads.

        Of the very first load it is gone again when the load fails.
        """
        try:
            self._run(f"set statement_timeout to {PATIENCE}")
            if is_new:
                named = f"select 1 from pg_namespace where nspname = {literal(self.schema)}"
                # Whoever may not create schemas may still load into one that is there.
                if not self._rows(named):
                    self._run(f"create schema {quote(self.schema)}")
                self._create_tables(STATE_TABLES)
            self._run(f"lock table {self._name('_load_state')}")
            self._run("set statement_timeout to 0")
        except (RedshiftError, OSError) as error:
            if _code(error) != CANCELLED:
                raise LoadError(
                    f"{self.description}, taking the lock: {self._explained(error)}."
                ) from None
            raise LoadError(
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
        if _code(error) is None:
            return "the connection was lost; nothing was changed"
        text = _message(error)
        if _code(error) == DENIED:
            text += "; grant it to the loader's user (docs/redshift.md)"
        elif _code(error) == NOT_SERIALIZABLE:
            text += "; somebody else wrote into the same tables meanwhile, so load again"
        elif "depend" in text and "column" in text:
            text += "; create the view again with no schema binding, or drop it for the load"
        return text


class _RedshiftMerge(Merge):
    """Without `except all` and row numbers: rows are found again by a digest of their values."""

    def by_whole_rows(self) -> tuple[int, int, int]:
        """What is gone gets a tombstone, what is new is inserted; equal rows are counted.

        Of values that are there too often, all rows are taken out, and put back as they were or
        with a tombstone.
        """
        create = self._warehouse._create_temporary
        kept = [(quote(name), kind) for name, kind in self._kinds.items()]
        held = f"md5({_line(kept)})"
        offered = (
            f"md5({_line([(self._values[name], kind) for name, kind in self._kinds.items()])})"
        )
        counts = create(
            "_load_counts",
            "select _load_digest, sum(_load_held) as held, sum(_load_staged) as staged from"
            f" (select {held} as _load_digest, 1 as _load_held, 0 as _load_staged"
            f" from {self._target} where _deleted_at is null"
            f" union all select {offered}, 0, 1 from {self._staged} as s) as both_sides"
            " group by _load_digest having sum(_load_held) <> sum(_load_staged)",
        )
        surplus = create(
            "_load_surplus",
            f"select t.*, c.staged as _load_staged, row_number() over"
            " (partition by t._load_digest order by t._loaded_at) as _load_number"
            f" from (select {self._names}, _loaded_at, _batch_id, {held} as _load_digest"
            f" from {self._target} where _deleted_at is null) as t"
            f" inner join {counts} as c on t._load_digest = c._load_digest"
            " where c.held > c.staged",
        )
        self._run(
            f"delete from {self._target} where _deleted_at is null and {held} in"
            f" (select _load_digest from {counts} where held > staged)"
        )
        stamps = ", ".join(
            f"case when _load_number > _load_staged then {new} else {old} end"
            for new, old in (
                (self._at, "_loaded_at"),
                (self._batch, "_batch_id"),
                (self._at, "null"),
            )
        )
        self._run(
            f"insert into {self._target} ({self._names}, {', '.join(METADATA_COLUMNS)})"
            f" select {self._names}, {stamps} from {surplus}"
        )
        ((deleted,),) = self._warehouse._rows(
            f"select count(*) from {surplus} where _load_number > _load_staged"
        )
        values = ", ".join(f"{value} as {quote(name)}" for name, value in self._values.items())
        inserted = self._run(
            f"insert into {self._target} ({self._names}, _loaded_at, _batch_id)"
            f" select {self._names}, {self._at}, {self._batch} from"
            " (select s.*, c.held as _load_held, row_number() over"
            " (partition by s._load_digest order by s._load_digest) as _load_number"
            f" from (select {values}, {offered} as _load_digest from {self._staged} as s) as s"
            f" inner join {counts} as c on s._load_digest = c._load_digest"
            " where c.staged > c.held) as fresh where _load_number > _load_held"
        )
        for name in (counts, surplus):
            self._run(f"drop table {name}")
        return inserted, 0, int(deleted)


class RowTally(Tally):
    """Rows in any order: the sums of their digests, which SQL calculates too.

    In a line to be digested, texts and binaries are digests themselves, so that it is short.
    """

    def __init__(self, table: Table) -> None:
        super().__init__()
        self.sums = [0, 0]
        self.longest_binary = 0
        self._digested = [
            (n, column.type.kind)
            for n, column in enumerate(table.columns)
            if column.type.kind in (Kind.TEXT, Kind.BINARY)
        ]

    def add(self, data: bytes | memoryview, rows: int = 0) -> None:
        """Count some more whole lines."""
        self.rows += rows
        for line in bytes(data).split(b"\n")[:-1]:
            fields = line.split(b"\t")
            for n, kind in self._digested:
                if fields[n] != NULL:
                    fields[n] = self._short(fields[n], kind)
            line = b"\t".join(fields)
            digest = int.from_bytes(hashlib.md5(line, usedforsecurity=False).digest(), "big")
            self.size += len(line)
            # Twice fifteen hex digits of the 32.
            self.sums[0] += digest >> 68
            self.sums[1] += (digest >> 8) & (2**60 - 1)

    def _short(self, field: bytes, kind: Kind) -> bytes:
        if kind is Kind.TEXT:
            return _md5(unescape(field))
        digits = field[len(binary_field(b"")) :]
        self.longest_binary = max(self.longest_binary, len(digits) // 2)
        step = 2 * DIGESTED_BYTES
        return b"".join(_md5(digits[n : n + step]) for n in range(0, max(len(digits), 1), step))

    @property
    def digest(self) -> str:
        """The sums so far."""
        return f"{self.sums[0]} {self.sums[1]}"


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).hexdigest().encode()


def _line(fields: Sequence[tuple[str, Type]], longest_binary: int = BINARY_BYTES) -> str:
    """SQL of the line that RowTally makes of the same values."""
    null = "chr(92) || 'N'"
    return " || chr(9) || ".join(
        f"coalesce({_short(value, kind, longest_binary)}, {null})" for value, kind in fields
    )


def _short(value: str, kind: Type, longest_binary: int) -> str:
    """SQL of a value as it stands in such a line."""
    if kind.kind is Kind.TEXT:
        return f"md5({value})"
    if kind.kind is Kind.BINARY:
        first, *others = _hex(value, longest_binary)
        ends = range(DIGESTED_BYTES, BINARY_BYTES, DIGESTED_BYTES)
        return f"md5({first})" + "".join(
            f" || case when octet_length({value}) > {end} then md5({part}) else '' end"
            for end, part in zip(ends, others, strict=False)
        )
    return _wire(value, kind)


def _hex(value: str, longest: int) -> list[str]:
    """SQL of a binary value's hex, in as many parts as the longest value needs."""
    return [
        f"lower(to_hex(substring({value}, {start}, {DIGESTED_BYTES})))"
        for start in range(1, max(longest, 1) + 1, DIGESTED_BYTES)
    ]


def _wire(value: str, kind: Type) -> str:
    """SQL of a value as it was sent, unescaped; for doubles, of what tells them apart."""
    if kind.kind is Kind.TEXT:
        return value
    if kind.kind is Kind.BOOLEAN:
        return f"case when {value} then 't' when not {value} then 'f' end"
    if kind.kind in (Kind.DATE, Kind.TIMESTAMP):
        text = f"to_char({value}, 'YYYY-MM-DD')"
        if kind.kind is Kind.TIMESTAMP:
            digits = f"to_char({value}, 'YYYY-MM-DD HH24:MI:SS.US')"
            text = f"rtrim(rtrim({digits}, '0'), '.')"
        return f"{text} || case when {value} < date '0001-01-01' then ' BC' else '' end"
    return f"cast({value} as character varying({NUMBER_BYTES}))"


def _fetched(value: str, kind: Type, longest: int) -> list[str]:
    """SQL of a value as the driver is to give it, in one part or, of a binary, in several."""
    if kind.kind is Kind.BINARY:
        return _hex(value, longest)
    return [value if kind.kind is Kind.DOUBLE else _wire(value, kind)]


def _field(parts: list[Any], kind: Kind) -> bytes:
    """A value from the driver as it stands on the wire."""
    if parts[0] is None:
        return NULL
    if kind is Kind.DOUBLE:
        return double_field(parts[0]).encode()
    if kind is Kind.BINARY:
        return (binary_field(b"") + "".join(filter(None, parts))).encode()
    return escape(parts[0]).encode()


def _parameters(line: bytes, table: Table) -> list[str | None]:
    """The fields of a line as text that can be cast."""
    found: list[str | None] = []
    for field, column in zip(line.split(b"\t"), table.columns, strict=True):
        if field == NULL:
            found.append(None)
        elif column.type.kind is Kind.BINARY:
            found.append(field[len(binary_field(b"")) :].decode())
        else:
            found.append(unescape(field).decode())
    return found


def _length(declared: str) -> int:
    """The bytes of a varchar; what is none has as many as there can be."""
    found = re.fullmatch(r"character varying\((\d+)\)", declared)
    return int(found[1]) if found else TEXT_BYTES


def _code(error: Exception) -> str | None:
    """The server's code for an error, or None when it did not come from there."""
    said = error.args[0] if error.args else None
    return str(said.get("C")) if isinstance(said, dict) else None


def _message(error: Exception) -> str:
    """What the server or the driver says, in a line."""
    said = error.args[0] if error.args else error
    text = str(said.get("M") or said) if isinstance(said, dict) else str(error)
    return " ".join(text.replace("-" * 10, " ").split()).strip(" -.")
