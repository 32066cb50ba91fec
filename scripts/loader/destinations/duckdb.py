"""DuckDB as the warehouse: rows are staged in a file beside it, then published in one transaction.

DuckDB lets one process write. So the warehouse is opened for a look at the start and for the
publish at the end, not while the source is being read; the staging file is the lock against a
second loader.
"""

import contextlib
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv

from ..audit import STATE_TABLES, TABLES, Record
from ..errors import LoadError
from ..ranges import Digest, State, difference
from ..schema import Column, Kind, Table, Type
from ..wire import Block, Tally, double_sql
from . import Changes, Stamp, Within

TYPE_NAMES = {
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
SPLIT = "split_part({text}, '{mark}', {n})"
# The name under which the warehouse is attached, whatever its file is called.
WAREHOUSE = "the_warehouse"
# Seconds to wait for a reader that has the warehouse open.
PATIENCE = 10.0
# Rows rendered at a time when reading back; few, because one may have tens of megabytes.
ROWS_PER_BATCH = 10_000


class DuckDBDestination:
    """The warehouse file and, while a load runs, a staging file beside it."""

    keeps_nul = True
    name_limit: int | None = None

    def __init__(self, raw_schema: str, path: str | Path) -> None:
        self.schema = raw_schema
        self.path = Path(path)
        self.staging_path = self.path.with_name(self.path.name + ".loading")
        self.description = f"duckdb {self.path}"
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._existing: dict[str, dict[str, Type | None]] = {}
        self._states: dict[str, State] = {}
        self._last: datetime | None = None

    def open(self) -> None:
        """Take the staging file as a lock, and look at what the warehouse holds."""
        folder = self.path.resolve().parent
        if not folder.is_dir():
            raise LoadError(
                f"The folder {folder} of the warehouse does not exist: create it, or change"
                " DUCKDB_PATH."
            )
        if self.path.is_dir():
            raise LoadError(
                f"The warehouse {self.path} is a folder, not a file: change DUCKDB_PATH."
            )
        try:
            self._connection = self._open_staging()
            # Staged rows must come back in the order in which they went in.
            self._execute("set preserve_insertion_order = true")
            self._execute("set arrow_large_buffer_size = true")
            self._execute("set enable_progress_bar = false")
            if self.path.exists():
                with self._warehouse():
                    self._look()
        except duckdb.Error as error:
            raise self._failed("opening it", error) from None

    def last_loaded_at(self) -> datetime | None:
        """The newest stamp in the audit, as of `open`."""
        return self._last

    def columns(self, raw_table: str) -> dict[str, Type | None] | None:
        """Columns and types of a raw table as of `open`, or None when it is not there."""
        return self._existing.get(raw_table)

    def state(self, raw_table: str) -> State | None:
        """The state row of a table and its ranges, as of `open`."""
        return self._states.get(raw_table)

    def newest(self, raw_table: str, column: Column, overlap: int) -> str | None:
        """The greatest live value of a column, less an overlap."""
        less = {Kind.TIMESTAMP: "interval 1 second"}.get(column.type.kind, "1")
        value = f"max({_quote(column.raw_name)})" + (f" - {overlap} * {less}" if overlap else "")
        try:
            with self._warehouse():
                (newest,) = self._row(
                    f"select cast({value} as varchar) from {self._name(raw_table)}"
                    " where _deleted_at is null"
                )
        except duckdb.Error as error:
            raise self._failed(f"looking for the newest {column.raw_name}", error) from None
        return str(newest) if newest is not None else None

    def stage(self, table: Table, blocks: Iterator[Block], stamp: Stamp) -> Tally:
        """Insert the rows into the staging file."""
        columns = ", ".join(f"{_quote(c.raw_name)} {_type_name(c.type)}" for c in table.columns)
        names = [f"c{n}" for n in range(len(table.columns))]
        insert = f"insert into {_staged(table)} select {{}} from rows"
        plain = insert.format(", ".join(map(_value, names, [c.type for c in table.columns])))
        escaped = insert.format(
            ", ".join(map(_escaped_value, names, [c.type for c in table.columns]))
        )
        tally = Tally()
        try:
            self._execute(f"create or replace table {_staged(table)} ({columns})")
            self._execute("begin")
            for block in blocks:
                tally.add(block.data, block.rows)
                self._open().register("rows", _rows(block, names))
                has_escapes = b"\\x5C" in block.data or any(
                    mark in block.data for mark in (b"\\n", b"\\t", b"\\r")
                )
                self._execute(escaped if has_escapes else plain)
                self._open().unregister("rows")
            self._execute("commit")
        except (duckdb.Error, pa.ArrowInvalid) as error:
            raise self._failed(f"staging the table {table.raw_name}", error) from None
        return tally

    def read_back(self, table: Table) -> Tally:
        """Render the staged rows again."""
        fields = [f"coalesce({_wire(_quote(c.raw_name), c.type)}, '\\N')" for c in table.columns]
        line = " || chr(9) || ".join(fields) + " || chr(10)"
        tally = Tally()
        try:
            result = self._execute(f"select {line} as line from {_staged(table)}")
            for batch in result.to_arrow_reader(ROWS_PER_BATCH):
                lines = batch.column(0)
                _, offsets, data = lines.buffers()
                if data is None:
                    continue
                ends = memoryview(offsets).cast("q")
                first, last = ends[lines.offset], ends[lines.offset + len(lines)]
                tally.add(memoryview(data)[first:last], len(lines))
        except duckdb.Error as error:
            raise self._failed(f"reading the table {table.raw_name} back", error) from None
        return tally

    def begin_publish(self) -> None:
        """Open the warehouse and begin the one transaction that readers will see."""
        try:
            self._attach()
            self._look()
            self._execute("begin")
            self._execute(f"create schema if not exists {self._name()}")
        except duckdb.Error as error:
            raise self._failed("opening it to publish", error) from None

    def publish(
        self, table: Table, stamp: Stamp, *, keyed: bool, within: Within | None = None
    ) -> Changes:
        """Apply the difference between the staged and the published rows."""
        try:
            if self.columns(table.raw_name) is None:
                return self._publish_fresh(table, stamp)
            return self._publish_changes(table, stamp, keyed, within)
        except duckdb.Error as error:
            raise self._failed(f"publishing the table {table.raw_name}", error) from None

    def save_state(self, raw_table: str, before: State | None, now: State | None) -> None:
        """Write what differs from the stored state."""
        try:
            self._create_tables(STATE_TABLES)
            if (before and (before.fingerprint, before.width)) != (
                now and (now.fingerprint, now.width)
            ):
                state = self._name("_load_state")
                self._execute(f"delete from {state} where table_name = ?", [raw_table])
                if now is not None:
                    values = [raw_table, now.fingerprint, now.width]
                    self._execute(f"insert into {state} values (?, ?, ?)", values)
            forgotten, stored = difference(before, now)
            ranges = self._name("_load_ranges")
            if forgotten:
                self._open().register("gone", pa.table({"number": forgotten}))
                self._execute(
                    f"delete from {ranges} where table_name = ? and number in (from gone)",
                    [raw_table],
                )
            if stored:
                rows = {
                    "number": list(stored),
                    "row_count": [digest.rows for digest in stored.values()],
                    "digest": [digest.value for digest in stored.values()],
                }
                self._open().register("stored", pa.table(rows))
                self._execute(f"insert into {ranges} select ?, * from stored", [raw_table])
        except duckdb.Error as error:
            raise self._failed(f"keeping the state of {raw_table}", error) from None

    def commit(self, records: list[Record]) -> None:
        """Write the audit, commit, and let go of the warehouse."""
        try:
            self._write(records)
            self._execute("commit")
            self._execute(f"checkpoint {WAREHOUSE}")
            self._execute(f"detach {WAREHOUSE}")
        except duckdb.Error as error:
            raise self._failed("committing the load", error) from None

    def record_failure(self, records: list[Record]) -> None:
        """Roll back, then note the failure where earlier runs left an audit."""
        if self._connection is None or "_load_runs" not in self._existing:
            return
        # The failure itself is what the person hears about; the audit of it is second to that.
        with contextlib.suppress(duckdb.Error, LoadError):
            self._roll_back()
            with self._warehouse():
                self._write(records)

    def close(self) -> None:
        """Close both files and remove the staging file."""
        if self._connection is None:
            return
        self._connection.close()
        self._connection = None
        self._remove_staging()

    def _open_staging(self) -> duckdb.DuckDBPyConnection:
        try:
            connection = duckdb.connect(str(self.staging_path))
        except duckdb.IOException as error:
            if "lock" in str(error).lower():
                raise LoadError(
                    f"Another load into {self.path} is running: wait until it ends."
                ) from None
            # A load that was killed may leave a file that cannot be opened again.
            self._remove_staging()
            connection = duckdb.connect(str(self.staging_path))
        for (name,) in connection.execute("select table_name from duckdb_tables()").fetchall():
            connection.execute(f"drop table {_quote(name)}")
        return connection

    def _remove_staging(self) -> None:
        for path in (self.staging_path, Path(f"{self.staging_path}.wal")):
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _warehouse(self) -> Iterator[None]:
        self._attach()
        try:
            yield
        finally:
            self._execute(f"detach {WAREHOUSE}")

    def _attach(self) -> None:
        """Open the warehouse for writing; a reader that has it open is waited for."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                path = str(self.path).replace("'", "''")
                self._execute(f"attach '{path}' as {WAREHOUSE}")
                return
            except duckdb.Error as error:
                if "lock" not in str(error).lower():
                    raise
                if time.monotonic() > deadline:
                    raise LoadError(
                        f"The warehouse {self.path} is open in another program"
                        f"{_holder(str(error))}: close it there and run the load again."
                    ) from None
                time.sleep(0.2)

    def _look(self) -> None:
        self._existing = {}
        rows = self._execute(
            "select table_name, column_name, data_type from duckdb_columns()"
            f" where database_name = '{WAREHOUSE}' and schema_name = ? order by column_index",
            [self.schema],
        ).fetchall()
        for table, column, data_type in rows:
            self._existing.setdefault(table, {})[column] = _type_from(data_type)
        if "_load_runs" in self._existing:
            (self._last,) = self._row(f"select max(started_at) from {self._name('_load_runs')}")
        if "_load_state" in self._existing:
            states = self._execute(f"from {self._name('_load_state')}").fetchall()
            self._states = {table: State(mark, width) for table, mark, width in states}
            ranges = self._execute(f"from {self._name('_load_ranges')}").fetchall()
            for table, number, rows, value in ranges:
                self._states[table].digests[number] = Digest(rows, value)

    def _publish_fresh(self, table: Table, stamp: Stamp) -> Changes:
        name = self._name(table.raw_name)
        columns = ", ".join(f"{_quote(c.raw_name)} {_type_name(c.type)}" for c in table.columns)
        self._execute(
            f"create table {name} ({columns}, _loaded_at timestamp not null,"
            " _batch_id varchar not null, _deleted_at timestamp)"
        )
        inserted = self._count(
            f"insert into {name} select *, ?, ?, null from {_staged(table)}",
            [stamp.loaded_at, stamp.batch_id],
        )
        return Changes(inserted=inserted, live=inserted)

    def _publish_changes(
        self, table: Table, stamp: Stamp, keyed: bool, within: Within | None
    ) -> Changes:
        existing = self._existing[table.raw_name]
        name = self._name(table.raw_name)
        for column in table.columns:
            if column.raw_name not in existing:
                kind = _type_name(column.type)
                self._execute(f"alter table {name} add column {_quote(column.raw_name)} {kind}")
                existing[column.raw_name] = column.type
        if keyed:
            inserted, updated, deleted = self._apply_keyed(table, stamp, within)
        elif within is not None:
            inserted, updated, deleted = self._append(table, stamp), 0, 0
        else:
            inserted, updated, deleted = self._apply_whole_rows(table, stamp)
        (live,) = self._row(f"select count(*) from {name} where _deleted_at is null")
        return Changes(inserted, updated, deleted, live)

    def _apply_keyed(
        self, table: Table, stamp: Stamp, within: Within | None
    ) -> tuple[int, int, int]:
        """Tombstones, revivals, updates, inserts; each row found by its key."""
        target, staged, values = self._name(table.raw_name), _staged(table), self._values(table)
        key = [column.raw_name for column in table.key_columns]
        match = " and ".join(f"t.{_quote(name)} = {values[name]}" for name in key)
        assign = ", ".join(f"{_quote(name)} = {value}" for name, value in values.items())
        differs = " or ".join(
            f"t.{_quote(name)} is distinct from {value}"
            for name, value in values.items()
            if name not in key
        )
        mark = [stamp.loaded_at, stamp.batch_id]
        deleted = self._count(
            f"update {target} as t set _deleted_at = ?, _loaded_at = ?, _batch_id = ?"
            f" where t._deleted_at is null and {self._within(within)}"
            f" and not exists (select 1 from {staged} as s where {match})",
            [stamp.loaded_at, *mark],
        )
        revived = self._count(
            f"update {target} as t set {assign}, _deleted_at = null, _loaded_at = ?, _batch_id = ?"
            f" from {staged} as s where {match} and t._deleted_at is not null",
            mark,
        )
        updated = self._count(
            f"update {target} as t set {assign}, _loaded_at = ?, _batch_id = ?"
            f" from {staged} as s"
            f" where {match} and t._deleted_at is null and ({differs or 'false'})",
            mark,
        )
        names = ", ".join(map(_quote, values))
        inserted = self._count(
            f"insert into {target} ({names}, _loaded_at, _batch_id)"
            f" select {', '.join(values.values())}, ?, ? from {staged} as s"
            f" where not exists (select 1 from {target} as t where {match})",
            mark,
        )
        return inserted + revived, updated, deleted

    def _apply_whole_rows(self, table: Table, stamp: Stamp) -> tuple[int, int, int]:
        """For tables without a usable key: what is gone gets a tombstone, what is new is inserted.

        Equal rows are told apart by their count only.
        """
        target, staged, values = self._name(table.raw_name), _staged(table), self._values(table)
        names = ", ".join(map(_quote, values))
        offered = f"select {', '.join(values.values())} from {staged} as s"
        held = f"select {names} from {target} where _deleted_at is null"
        same = " and ".join(f"o.{n} is not distinct from g.{n}" for n in map(_quote, values))
        number = f"row_number() over (partition by {names})"
        mark = [stamp.loaded_at, stamp.batch_id]
        deleted = self._count(
            f"with gone as ({held} except all {offered}),"
            f" counted as (select *, {number} as n from gone),"
            f" numbered as (select rowid as id, {names}, {number} as n from {target}"
            " where _deleted_at is null)"
            f" update {target} as t set _deleted_at = ?, _loaded_at = ?, _batch_id = ?"
            " from (select o.id from numbered as o"
            f" inner join counted as g on {same} and o.n = g.n) as x"
            " where t.rowid = x.id",
            [stamp.loaded_at, *mark],
        )
        inserted = self._count(
            f"insert into {target} ({names}, _loaded_at, _batch_id)"
            f" select *, ?, ? from ({offered} except all {held})",
            mark,
        )
        return inserted, 0, deleted

    def _append(self, table: Table, stamp: Stamp) -> int:
        """For tables without a key of which only new rows were read."""
        values = self._values(table)
        return self._count(
            f"insert into {self._name(table.raw_name)}"
            f" ({', '.join(map(_quote, values))}, _loaded_at, _batch_id)"
            f" select {', '.join(values.values())}, ?, ? from {_staged(table)} as s",
            [stamp.loaded_at, stamp.batch_id],
        )

    def _within(self, within: Within | None) -> str:
        """SQL for whether a published row `t` lies in what was staged."""
        if within is None:
            return "true"
        if within.partition is None:
            return "false"
        self._open().register("numbers", pa.table({"number": sorted(within.numbers)}))
        key = f"cast(t.{_quote(within.partition.column.raw_name)} as hugeint)"
        return f"{key} // {within.partition.width} in (from numbers)"

    def _values(self, table: Table) -> dict[str, str]:
        """Raw column -> SQL of the staged value in the published column's type."""
        existing = self._existing[table.raw_name]
        values = {}
        for column in table.columns:
            staged = f"s.{_quote(column.raw_name)}"
            kind = existing[column.raw_name]
            if kind is not None and kind != column.type:
                staged = f"cast({staged} as {_type_name(kind)})"
            values[column.raw_name] = staged
        return values

    def _write(self, records: list[Record]) -> None:
        self._create_tables(TABLES)
        for record in records:
            marks = ", ".join("?" for _ in record.row)
            self._execute(f"insert into {self._name(record.table)} values ({marks})", record.row)

    def _create_tables(self, tables: dict[str, dict[str, Type]]) -> None:
        """The loader's own tables, where they are missing."""
        for table, columns in tables.items():
            defined = ", ".join(f"{name} {_type_name(kind)}" for name, kind in columns.items())
            self._execute(f"create table if not exists {self._name(table)} ({defined})")

    def _name(self, table: str | None = None) -> str:
        schema = f"{WAREHOUSE}.{_quote(self.schema)}"
        return f"{schema}.{_quote(table)}" if table else schema

    def _open(self) -> duckdb.DuckDBPyConnection:
        assert self._connection is not None
        return self._connection

    def _execute(self, sql: str, parameters: list[Any] | None = None) -> duckdb.DuckDBPyConnection:
        return self._open().execute(sql, parameters)

    def _row(self, sql: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] | None = self._execute(sql).fetchone()
        assert row is not None
        return row

    def _count(self, sql: str, parameters: list[Any]) -> int:
        row = self._execute(sql, parameters).fetchone()
        return int(row[0]) if row else 0

    def _roll_back(self) -> None:
        with contextlib.suppress(duckdb.Error):
            self._execute("rollback")
        with contextlib.suppress(duckdb.Error):
            self._execute(f"detach {WAREHOUSE}")

    def _failed(self, doing: str, error: Exception) -> LoadError:
        text = " ".join(str(error).split())
        if "Permission denied" in text or "read-only" in text.lower():
            text = "the file or its folder cannot be written: check its permissions"
        elif "not a valid DuckDB database" in text:
            text = "the file is not a DuckDB database: move it away, or change DUCKDB_PATH"
        return LoadError(f"The warehouse {self.path}, {doing}: {text}.")


def _rows(block: Block, names: list[str]) -> pa.Table:
    """The fields of a block as Arrow text, null where the line says so."""
    return pyarrow.csv.read_csv(
        pa.py_buffer(block.data),
        read_options=pyarrow.csv.ReadOptions(column_names=names, block_size=len(block.data) + 1),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter="\t", quote_char=False, escape_char=False, ignore_empty_lines=False
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.large_string()),
            null_values=["\\N"],
            strings_can_be_null=True,
        ),
    )


def _value(name: str, kind: Type) -> str:
    """SQL of a staged value from its field, when the block has no escapes."""
    if kind.kind is Kind.TEXT:
        return name
    if kind.kind is Kind.BOOLEAN:
        return f"{name} = 't'"
    if kind.kind is Kind.BINARY:
        return f"unhex(substr({name}, 6))"
    if kind.kind in (Kind.DATE, Kind.TIMESTAMP):
        # DuckDB wants the era behind the date, in parentheses.
        era = f"regexp_replace({name}, '^(\\S+)(.*) BC$', '\\1 (BC)\\2')"
        return f"cast(case when {name} like '%C' then {era} else {name} end as {_type_name(kind)})"
    return f"cast({name} as {_type_name(kind)})"


def _escaped_value(name: str, kind: Type) -> str:
    """The same when the block has escapes; the backslash's own comes last."""
    if kind.kind is not Kind.TEXT:
        return _value(name, kind)
    for escaped, plain in (("\\n", 10), ("\\r", 13), ("\\t", 9), ("\\x5C", 92)):
        name = f"replace({name}, '{escaped}', chr({plain}))"
    return name


def _wire(name: str, kind: Type) -> str:
    """SQL that renders a stored value as it was sent."""
    if kind.kind is Kind.TEXT:
        for plain, escaped in ((92, "\\x5C"), (10, "\\n"), (13, "\\r"), (9, "\\t")):
            name = f"replace({name}, chr({plain}), '{escaped}')"
        return name
    if kind.kind is Kind.BOOLEAN:
        return f"case when {name} then 't' when not {name} then 'f' end"
    if kind.kind is Kind.BINARY:
        return f"'\\x5Cx' || lower(hex({name}))"
    if kind.kind in (Kind.DATE, Kind.TIMESTAMP):
        return f"regexp_replace(cast({name} as varchar), '^(.*) \\(BC\\)(.*)$', '\\1\\2 BC')"
    if kind.kind is Kind.DECIMAL and kind.scale == kind.precision:
        # DuckDB leaves out the zero before the point where no digit can stand.
        return f"regexp_replace(cast({name} as varchar), '^(-?)\\.', '\\10.')"
    if kind.kind is Kind.DOUBLE:
        spelled = double_sql(f"cast(abs({name}) as varchar)", split=SPLIT, integer="integer")
        return (
            f"case when isnan({name}) then 'NaN' when {name} = 'inf' then 'Infinity'"
            f" when {name} = '-inf' then '-Infinity' when {name} is not null then"
            f" (case when cast({name} as varchar)[1] = '-' then '-' else '' end) || {spelled} end"
        )
    return f"cast({name} as varchar)"


def _holder(message: str) -> str:
    """Who holds the file, as far as DuckDB says."""
    start = message.find("(PID ")
    return f" {message[start : message.find(')', start) + 1]}" if start >= 0 else ""


def _type_name(kind: Type) -> str:
    name = TYPE_NAMES[kind.kind]
    return f"{name}({kind.precision}, {kind.scale})" if kind.kind is Kind.DECIMAL else name


def _type_from(text: str) -> Type | None:
    """A type of the catalog as the loader's, or None for one that it never creates."""
    base, _, arguments = text.partition("(")
    for kind, name in TYPE_NAMES.items():
        if kind is Kind.DECIMAL and base == name and arguments:
            precision, scale = arguments.rstrip(")").split(",")
            return Type(kind, int(precision), int(scale))
        if text == name and kind is not Kind.DECIMAL:
            return Type(kind)
    return None


def _staged(table: Table) -> str:
    return f"main.{_quote(table.raw_name)}"


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
