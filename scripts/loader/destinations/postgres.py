"""PostgreSQL as the warehouse: COPY in, COPY out to compare, one transaction from lock to audit.

A table that is not there yet is filled in place: the transaction hides it until the commit. One
that is there keeps its identity, views and grants: rows are staged in a temporary table, then the
difference is applied.
"""

import os
from collections.abc import Iterator
from datetime import datetime
from typing import Any, cast

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from ..audit import STATE_TABLES, TABLES, Record
from ..errors import LoadError
from ..ranges import Digest, State, difference
from ..schema import Column, Kind, Table, Type
from ..sources.postgres import SPLIT, connection_problem
from ..wire import Block, Tally, blocks_of_copy, double_sql
from . import Changes, Stamp, Within

TYPE_NAMES = {
    Kind.BOOLEAN: "boolean",
    Kind.SMALLINT: "smallint",
    Kind.INTEGER: "integer",
    Kind.BIGINT: "bigint",
    Kind.DECIMAL: "numeric",
    Kind.DOUBLE: "double precision",
    Kind.DATE: "date",
    Kind.TIMESTAMP: "timestamp without time zone",
    Kind.TEXT: "text",
    Kind.BINARY: "bytea",
}


class PostgresDestination:
    """One connection and one transaction for the whole run."""

    keeps_nul = False
    name_limit: int | None = 63

    def __init__(self, raw_schema: str, **connection_options: str) -> None:
        self.schema = raw_schema
        self._options = connection_options
        self._connection: psycopg.Connection | None = None
        self._fresh: set[str] = set()
        self._changed: set[str] = set()
        self.description = "postgres"

    def open(self) -> None:
        """Connect, take the lock, and begin the transaction."""
        options = {
            "host": os.environ.get("PGHOST", "localhost"),
            "connect_timeout": "10",
            "client_encoding": "utf8",
        } | self._options
        try:
            connection = psycopg.connect(make_conninfo(**options))
        except psycopg.Error as error:
            where = f"{options['host']}:{options.get('port', os.environ.get('PGPORT', '5432'))}"
            raise LoadError(
                f"The PostgreSQL warehouse at {where} cannot be opened: {connection_problem(error)}"
            ) from None
        self._connection = connection
        info = connection.info
        self.description = f"postgres {info.host}:{info.port}/{info.dbname}"
        try:
            for setting in (
                "datestyle = 'ISO, YMD'",
                "timezone = 'UTC'",
                "bytea_output = 'hex'",
                "extra_float_digits = 1",
                # Rows come back in the order in which they were staged.
                "synchronize_seqscans = off",
                "max_parallel_workers_per_gather = 0",
                "lock_timeout = '60s'",
            ):
                self._run(f"set {setting}")
            (free,) = self._row(
                "select pg_try_advisory_xact_lock(hashtext('classicmodels loader'), hashtext({}))",
                sql.Literal(self.schema),
            )
        except psycopg.Error as error:
            raise self._failed("beginning the load", error) from None
        if not free:
            raise LoadError(
                f"Another load into {self.schema} of {self.description} is running:"
                " wait until it ends."
            )

    def last_loaded_at(self) -> datetime | None:
        """The newest stamp in the audit."""
        if not self._exists("_load_runs"):
            return None
        (newest,) = self._row("select max(started_at) from {}", self._name("_load_runs"))
        return cast("datetime | None", newest)

    def columns(self, raw_table: str) -> dict[str, Type | None] | None:
        """Columns and types of a raw table, or None when it is not there."""
        rows = self._execute(
            "select a.attname, format_type(a.atttypid, a.atttypmod) from pg_attribute as a"
            " where a.attrelid = to_regclass({}) and a.attnum > 0 and not a.attisdropped"
            " order by a.attnum",
            sql.Literal(self._name(raw_table).as_string(self._connection)),
        ).fetchall()
        return {name: _type_from(text) for name, text in rows} or None

    def state(self, raw_table: str) -> State | None:
        """The state row of a table and its ranges."""
        if not self._exists("_load_ranges"):
            return None
        found = self._execute(
            "select fingerprint, width from {} where table_name = {}",
            self._name("_load_state"),
            sql.Literal(raw_table),
        ).fetchone()
        if found is None:
            return None
        ranges = self._execute(
            "select number, row_count, digest from {} where table_name = {}",
            self._name("_load_ranges"),
            sql.Literal(raw_table),
        )
        digests = {number: Digest(rows, value) for number, rows, value in ranges}
        return State(found[0], found[1], digests)

    def newest(self, raw_table: str, column: Column, overlap: int) -> str | None:
        """The greatest live value of a column, less an overlap."""
        less = {Kind.TIMESTAMP: "interval '1 second'"}.get(column.type.kind, "1")
        template = "max({}) - {} * " + less if overlap else "max({})"
        (value,) = self._row(
            "select cast(" + template + " as text) from {} where _deleted_at is null",
            sql.Identifier(column.raw_name),
            *([sql.Literal(overlap)] if overlap else []),
            self._name(raw_table),
        )
        return cast("str | None", value)

    def stage(self, table: Table, blocks: Iterator[Block], stamp: Stamp) -> Tally:
        """COPY the rows into the new raw table, or into a temporary table beside the old one."""
        tally = Tally()
        try:
            self._create_staging(table, stamp)
            names = sql.SQL(", ").join(sql.Identifier(c.raw_name) for c in table.columns)
            freeze = " (freeze)" if table.raw_name in self._fresh else ""
            statement = self._sql("copy {} ({}) from stdin" + freeze, self._staged(table), names)
            with self._open().cursor() as cursor, cursor.copy(statement) as copy:
                for block in blocks:
                    copy.write(block.data)
                    tally.add(block.data, block.rows)
        except psycopg.Error as error:
            raise self._failed(f"staging the table {table.raw_name}", error) from None
        return tally

    def read_back(self, table: Table) -> Tally:
        """COPY the staged rows out again."""
        fields = sql.SQL(", ").join(_wire(c.raw_name, c.type) for c in table.columns)
        statement = self._sql("copy (select {} from {}) to stdout", fields, self._staged(table))
        tally = Tally()
        try:
            with self._open().cursor() as cursor, cursor.copy(statement) as copy:
                for block in blocks_of_copy(copy):
                    tally.add(block.data, block.rows)
        except psycopg.Error as error:
            raise self._failed(f"reading the table {table.raw_name} back", error) from None
        return tally

    def begin_publish(self) -> None:
        """Everything is in one transaction already."""

    def publish(
        self, table: Table, stamp: Stamp, *, keyed: bool, within: Within | None = None
    ) -> Changes:
        """Apply the difference between the staged and the published rows."""
        try:
            if table.raw_name in self._fresh:
                changes = self._publish_fresh(table)
            else:
                changes = self._publish_changes(table, stamp, keyed, within)
        except psycopg.Error as error:
            raise self._failed(f"publishing the table {table.raw_name}", error) from None
        if changes.inserted or changes.updated or changes.deleted:
            self._changed.add(table.raw_name)
        return changes

    def save_state(self, raw_table: str, before: State | None, now: State | None) -> None:
        """Write what differs from the stored state."""
        try:
            self._create_tables(STATE_TABLES)
            name = sql.Literal(raw_table)
            if (before and (before.fingerprint, before.width)) != (
                now and (now.fingerprint, now.width)
            ):
                state = self._name("_load_state")
                self._execute("delete from {} where table_name = {}", state, name)
                if now is not None:
                    values = sql.SQL(", ").join(map(sql.Literal, (now.fingerprint, now.width)))
                    self._execute("insert into {} values ({}, {})", state, name, values)
            forgotten, stored = difference(before, now)
            ranges = self._name("_load_ranges")
            if forgotten:
                self._execute(
                    "delete from {} where table_name = {} and number = any({}::bigint[])",
                    ranges,
                    name,
                    sql.Literal(forgotten),
                )
            if stored:
                copied = self._sql("copy {} from stdin", ranges)
                with self._open().cursor() as cursor, cursor.copy(copied) as copy:
                    for number, digest in stored.items():
                        copy.write_row((raw_table, number, digest.rows, digest.value))
        except psycopg.Error as error:
            raise self._failed(f"keeping the state of {raw_table}", error) from None

    def commit(self, records: list[Record]) -> None:
        """Write the audit and commit; afterwards refresh the planner's statistics."""
        try:
            self._write(records)
            self._open().commit()
        except psycopg.Error as error:
            raise self._failed("committing the load", error) from None
        try:
            self._open().autocommit = True
            for name in sorted(self._changed):
                self._execute("vacuum (analyze) {}", self._name(name))
        except psycopg.Error:
            # House-keeping only: the data is committed, and autovacuum will come by.
            pass

    def record_failure(self, records: list[Record]) -> None:
        """Roll back, then note the failure where earlier runs left an audit."""
        connection = self._connection
        if connection is None or connection.closed:
            return
        try:
            connection.rollback()
            if self._exists("_load_runs"):
                self._write(records)
                connection.commit()
        except psycopg.Error:
            # The failure itself is what the person hears about; the audit of it is second to that.
            pass

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back by that."""
        if self._connection is not None:
            self._connection.close()

    def _create_staging(self, table: Table, stamp: Stamp) -> None:
        columns = sql.SQL(", ").join(
            self._sql("{} " + _type_name(c.type), sql.Identifier(c.raw_name)) for c in table.columns
        )
        if self.columns(table.raw_name) is None:
            self._fresh.add(table.raw_name)
            self._execute("create schema if not exists {}", sql.Identifier(self.schema))
            self._execute(
                "create table {} ({}, _loaded_at timestamp not null default {},"
                " _batch_id text not null default {}, _deleted_at timestamp)",
                self._name(table.raw_name),
                columns,
                sql.Literal(stamp.loaded_at),
                sql.Literal(stamp.batch_id),
            )
        else:
            self._execute("create temp table {} ({}) on commit drop", self._staged(table), columns)

    def _publish_fresh(self, table: Table) -> Changes:
        name = self._name(table.raw_name)
        self._execute(
            "alter table {} alter _loaded_at drop default, alter _batch_id drop default", name
        )
        (rows,) = self._row("select count(*) from {}", name)
        return Changes(inserted=rows, live=rows)

    def _publish_changes(
        self, table: Table, stamp: Stamp, keyed: bool, within: Within | None
    ) -> Changes:
        existing = self.columns(table.raw_name) or {}
        for column in table.columns:
            if column.raw_name not in existing:
                self._execute(
                    "alter table {} add column {} " + _type_name(column.type),
                    self._name(table.raw_name),
                    sql.Identifier(column.raw_name),
                )
        self._execute("analyze {}", self._staged(table))
        if keyed:
            inserted, updated, deleted = self._apply_keyed(table, stamp, within)
        elif within is not None:
            inserted, updated, deleted = self._append(table, stamp), 0, 0
        else:
            inserted, updated, deleted = self._apply_whole_rows(table, stamp)
        (live,) = self._row(
            "select count(*) from {} where _deleted_at is null", self._name(table.raw_name)
        )
        return Changes(inserted, updated, deleted, live)

    def _apply_keyed(
        self, table: Table, stamp: Stamp, within: Within | None
    ) -> tuple[int, int, int]:
        """Tombstones, revivals, updates, inserts; each row found by its key."""
        parts = self._parts(table, stamp) | {"within": self._within(within)}
        deleted = self._execute(
            "update {target} as t set _deleted_at = {at}, _loaded_at = {at}, _batch_id = {batch}"
            " where t._deleted_at is null and {within}"
            " and not exists (select 1 from {staged} as s where {match})",
            **parts,
        ).rowcount
        revived = self._execute(
            "update {target} as t set {assign}, _deleted_at = null, _loaded_at = {at},"
            " _batch_id = {batch} from {staged} as s where {match} and t._deleted_at is not null",
            **parts,
        ).rowcount
        updated = self._execute(
            "update {target} as t set {assign}, _loaded_at = {at}, _batch_id = {batch}"
            " from {staged} as s where {match} and t._deleted_at is null and ({differs})",
            **parts,
        ).rowcount
        inserted = self._execute(
            "insert into {target} ({names}, _loaded_at, _batch_id) select {values}, {at}, {batch}"
            " from {staged} as s where not exists (select 1 from {target} as t where {match})",
            **parts,
        ).rowcount
        return inserted + revived, updated, deleted

    def _apply_whole_rows(self, table: Table, stamp: Stamp) -> tuple[int, int, int]:
        """For tables without a usable key: what is gone gets a tombstone, what is new is inserted.

        Equal rows are told apart by their count only.
        """
        parts = self._parts(table, stamp)
        deleted = self._execute(
            "with surplus as (select {names} from {target} where _deleted_at is null"
            " except all select {values} from {staged} as s),"
            " counted as"
            " (select t.*, row_number() over (partition by {names}) as n from surplus as t),"
            " numbered as (select t.ctid as id, row_number() over (partition by {names}) as n,"
            " {names} from {target} as t where _deleted_at is null)"
            " update {target} as t set _deleted_at = {at}, _loaded_at = {at}, _batch_id = {batch}"
            " from numbered as o inner join counted as s on {same_row} and o.n = s.n"
            " where t.ctid = o.id",
            **parts,
        ).rowcount
        inserted = self._execute(
            "insert into {target} ({names}, _loaded_at, _batch_id)"
            " select x.*, {at}, {batch} from (select {values} from {staged} as s"
            " except all select {names} from {target} where _deleted_at is null) as x",
            **parts,
        ).rowcount
        return inserted, 0, deleted

    def _append(self, table: Table, stamp: Stamp) -> int:
        """For tables without a key of which only new rows were read."""
        return self._execute(
            "insert into {target} ({names}, _loaded_at, _batch_id)"
            " select {values}, {at}, {batch} from {staged} as s",
            **self._parts(table, stamp),
        ).rowcount

    def _within(self, within: Within | None) -> sql.Composable:
        """SQL for whether a published row `t` lies in what was staged."""
        if within is None:
            return sql.SQL("true")
        if within.partition is None:
            return sql.SQL("false")
        return self._sql(
            "div(t.{}, {}) = any({}::numeric[])",
            sql.Identifier(within.partition.column.raw_name),
            sql.Literal(within.partition.width),
            sql.Literal(sorted(within.numbers)),
        )

    def _parts(self, table: Table, stamp: Stamp) -> dict[str, sql.Composable]:
        """The pieces of the statements above. The staged row is `s`, the published one `t`."""
        existing = self.columns(table.raw_name) or {}

        def value(name: str, alias: str) -> sql.Composable:
            kind = existing[name]
            column = self._sql("{}.{}", sql.Identifier(alias), sql.Identifier(name))
            if kind is None:
                return column
            return self._sql("cast({} as " + _type_name(kind) + ")", column)

        names = [column.raw_name for column in table.columns]
        key = [column.raw_name for column in table.key_columns]
        others = [name for name in names if name not in key]

        def each(template: str, columns: list[str], glue: str) -> sql.Composable:
            return sql.SQL(glue).join(
                self._sql(
                    template,
                    name=sql.Identifier(name),
                    staged=value(name, "s"),
                )
                for name in columns
            )

        return {
            "target": self._name(table.raw_name),
            "staged": self._staged(table),
            "at": sql.Literal(stamp.loaded_at),
            "batch": sql.Literal(stamp.batch_id),
            "names": each("{name}", names, ", "),
            "values": each("{staged}", names, ", "),
            "assign": each("{name} = {staged}", names, ", "),
            "match": each("t.{name} = {staged}", key, " and "),
            "differs": each("t.{name} is distinct from {staged}", others, " or ")
            if others
            else sql.SQL("false"),
            "same_row": each("o.{name} is not distinct from s.{name}", names, " and "),
        }

    def _write(self, records: list[Record]) -> None:
        self._create_tables(TABLES)
        for record in records:
            values = sql.SQL(", ").join(sql.Literal(value) for value in record.row)
            self._execute("insert into {} values ({})", self._name(record.table), values)

    def _create_tables(self, tables: dict[str, dict[str, Type]]) -> None:
        """The loader's own tables, where they are missing."""
        for table, columns in tables.items():
            if self._exists(table):
                continue
            defined = sql.SQL(", ").join(
                self._sql("{} " + _type_name(kind), sql.Identifier(name))
                for name, kind in columns.items()
            )
            self._execute("create table {} ({})", self._name(table), defined)

    def _exists(self, name: str) -> bool:
        return self.columns(name) is not None

    def _name(self, table: str) -> sql.Identifier:
        return sql.Identifier(self.schema, table)

    def _staged(self, table: Table) -> sql.Identifier:
        if table.raw_name in self._fresh:
            return self._name(table.raw_name)
        return sql.Identifier("pg_temp", table.raw_name)

    def _open(self) -> psycopg.Connection:
        assert self._connection is not None
        return self._connection

    @staticmethod
    def _sql(text: str, *parts: sql.Composable, **named: sql.Composable) -> sql.Composed:
        return sql.SQL(text).format(*parts, **named)

    def _run(self, text: str) -> None:
        self._open().execute(sql.SQL(text))

    def _execute(
        self, text: str, *parts: sql.Composable, **named: sql.Composable
    ) -> psycopg.Cursor:
        return self._open().execute(self._sql(text, *parts, **named))

    def _row(self, text: str, *parts: sql.Composable) -> tuple[Any, ...]:
        row = self._execute(text, *parts).fetchone()
        assert row is not None
        return row

    def _failed(self, doing: str, error: psycopg.Error) -> LoadError:
        if self._open().broken or isinstance(error, psycopg.errors.AdminShutdown):
            text = "the connection was lost; nothing was changed"
        else:
            text = error.diag.message_primary or str(error).strip()
            if isinstance(error, psycopg.errors.InsufficientPrivilege):
                text += f"; grant it to the user {self._open().info.user}"
        return LoadError(f"{self.description}, {doing}: {text}.")


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


def _wire(name: str, kind: Type) -> sql.Composable:
    """SQL that renders a stored value as it was sent; COPY does the escaping."""
    column = sql.Identifier(name)
    if kind.kind is Kind.DOUBLE:
        spelled = double_sql("abs({0})::text", split=SPLIT, integer="integer")
        template = (
            "case when {0} in ('NaN', 'Infinity', '-Infinity') then {0}::text when {0} is not null"
            f" then (case when {{0}}::text like '-%' then '-' else '' end) || {spelled} end"
        )
        return sql.SQL(template).format(column)
    return column
