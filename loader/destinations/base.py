"""What the warehouses share: the SQL that applies staged rows, and the loader's own tables.

PostgreSQL and DuckDB speak this SQL alike. A destination says how it runs a statement, what its
types are called and where its rows are staged; the rest stands here.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, ClassVar

from ..audit import STATE_TABLES, TABLES, Record
from ..ranges import Digest, State, difference
from ..schema import METADATA_COLUMNS, TEXT, Column, Kind, Table, Type
from ..wire import ESCAPES
from . import Changes, Stamp, Within


class SqlDestination(ABC):
    """The part of a destination that is plain SQL."""

    TYPE_NAMES: ClassVar[Mapping[Kind, str]]
    # What stands behind the columns of a raw table that is made.
    TABLE_OPTIONS: ClassVar[str] = ""
    description: str

    def __init__(self, raw_schema: str) -> None:
        self.schema = raw_schema
        self.longest: Mapping[Kind, int] = {}
        self._states: dict[str, State] = {}

    @abstractmethod
    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a query."""

    @abstractmethod
    def _run(self, sql: str) -> int:
        """Run a statement; returns how many rows it wrote."""

    @abstractmethod
    def _insert(
        self, table: str, columns: Mapping[str, Type], rows: Sequence[Sequence[Any]]
    ) -> None:
        """Write rows into one of the loader's own tables."""

    def _name(self, table: str) -> str:
        """The quoted name of a raw table."""
        return f"{quote(self.schema)}.{quote(table)}"

    @abstractmethod
    def _staged(self, table: Table) -> str:
        """The quoted name of what was staged for a table."""

    @abstractmethod
    def _doing(self, what: str) -> AbstractContextManager[None]:
        """Turns the driver's errors into a LoadError that says what was being done."""

    @abstractmethod
    def _row_id(self, table: Table, alias: str) -> str:
        """SQL of what tells the rows of a table apart, even equal ones."""

    @abstractmethod
    def _create_temporary(self, name: str, query: str) -> str:
        """Keep the rows of a query for this run; returns the name to find them by."""

    @abstractmethod
    def _range_number(self, key: str, kind: Type | None, width: int) -> str:
        """SQL of a key's range number: division towards zero."""

    @abstractmethod
    def _change_type(self, table: str, column: str, kind: Type) -> None:
        """Widen a column; views on the table keep working."""

    @abstractmethod
    def columns(self, raw_table: str) -> dict[str, Type | None] | None:
        """Columns and types of a raw table (None: a type that is not the loader's), or None."""

    def last_loaded_at(self) -> datetime | None:
        """The newest stamp in the audit."""
        if not self.columns("_load_runs"):
            return None
        ((newest,),) = self._rows(f"select max(started_at) from {self._name('_load_runs')}")
        return newest  # type: ignore[no-any-return]

    def state(self, raw_table: str) -> State | None:
        """What the last run left about a table, as of `open`."""
        return self._states.get(raw_table)

    def schemas(self) -> dict[str, dict[str, str]]:
        """By raw table: its source columns and how they were declared when last seen."""
        return self._read_schemas() if self.columns("_load_schema_changes") else {}

    def publish(
        self, table: Table, stamp: Stamp, *, keyed: bool, within: Within | None = None
    ) -> Changes:
        """Bring the raw table to the staged state."""
        with self._doing(f"publishing the table {table.raw_name}"):
            merge = self._merge(table, stamp, within)
            if keyed:
                inserted, updated, deleted = merge.by_key()
            elif within is not None:
                inserted, updated, deleted = merge.append(), 0, 0
            else:
                inserted, updated, deleted = merge.by_whole_rows()
            return Changes(inserted, updated, deleted, self.live_rows(table.raw_name))

    def _merge(self, table: Table, stamp: Stamp, within: Within | None) -> "Merge":
        return Merge(self, table, stamp, within)

    def _publish_first(self, table: Table, stamp: Stamp) -> Changes:
        """Make the raw table, of all that was staged."""
        name = self._name(table.raw_name)
        with self._doing(f"publishing the table {table.raw_name}"):
            self._run(
                f"create table {name} ({self._columns_of(table)},"
                f" _loaded_at {self.TYPE_NAMES[Kind.TIMESTAMP]} not null,"
                f" _batch_id {self.type_name(TEXT)} not null,"
                f" _deleted_at {self.TYPE_NAMES[Kind.TIMESTAMP]}){self.TABLE_OPTIONS}"
            )
            rows = self._run(
                f"insert into {name} select *, {literal(stamp.loaded_at)},"
                f" {literal(stamp.batch_id)}, null from {self._staged(table)}"
            )
        return Changes(inserted=rows, live=rows)

    def live_rows(self, raw_table: str) -> int:
        """Rows that have no tombstone."""
        sql = f"select count(*) from {self._name(raw_table)} where _deleted_at is null"
        ((rows,),) = self._rows(sql)
        return int(rows)

    def evolve(self, raw_table: str, added: Sequence[Column], widened: Mapping[str, Type]) -> None:
        """Add columns (null in the rows there are) and widen types; nothing is dropped."""
        with self._doing(f"changing the columns of {raw_table}"):
            for column in added:
                self._run(
                    f"alter table {self._name(raw_table)} add column {quote(column.raw_name)}"
                    f" {self._column_type(column)}"
                )
            for name, kind in widened.items():
                self._change_type(raw_table, name, kind)

    def empty(self, raw_table: str) -> None:
        """Remove all rows and tombstones, for a full refresh."""
        with self._doing(f"emptying the table {raw_table}"):
            self._run(f"delete from {self._name(raw_table)}")

    def save_state(self, raw_table: str, before: State | None, now: State | None) -> None:
        """Write what differs from the stored state."""
        with self._doing(f"keeping the state of {raw_table}"):
            self._create_tables(STATE_TABLES)
            of_table = f"where table_name = {literal(raw_table)}"
            if (before and (before.fingerprint, before.width)) != (
                now and (now.fingerprint, now.width)
            ):
                self._run(f"delete from {self._name('_load_state')} {of_table}")
                if now is not None:
                    row = (raw_table, now.fingerprint, now.width)
                    self._insert("_load_state", STATE_TABLES["_load_state"], [row])
            forgotten, stored = difference(before, now)
            for start in range(0, len(forgotten), 10_000):
                numbers = ", ".join(map(str, forgotten[start : start + 10_000]))
                self._run(
                    f"delete from {self._name('_load_ranges')} {of_table} and number in ({numbers})"
                )
            if stored:
                rows = [(raw_table, n, digest.rows, digest.value) for n, digest in stored.items()]
                self._insert("_load_ranges", STATE_TABLES["_load_ranges"], rows)

    def _read_states(self) -> dict[str, State]:
        """All stored states by raw table."""
        states = {
            table: State(mark, int(width))
            for table, mark, width in self._rows(
                f"select table_name, fingerprint, width from {self._name('_load_state')}"
            )
        }
        for table, number, rows, value in self._rows(
            f"select table_name, number, row_count, digest from {self._name('_load_ranges')}"
        ):
            if table in states:
                states[table].digests[number] = Digest(rows, value)
        return states

    def _read_schemas(self) -> dict[str, dict[str, str]]:
        """By raw table: its source columns and how they were declared when last seen."""
        schemas: dict[str, dict[str, str]] = {}
        for table, column, declared in self._rows(
            "select table_name, column_name, declared_after from"
            " (select *, row_number() over (partition by table_name, column_name"
            " order by batch_id desc) as age"
            f" from {self._name('_load_schema_changes')}) as changes where age = 1"
        ):
            if declared is not None:
                schemas.setdefault(table, {})[column] = declared
        return schemas

    def _write(self, records: Sequence[Record]) -> None:
        """Write audit rows."""
        self._create_tables(TABLES)
        for table, columns in TABLES.items():
            rows = [record.row for record in records if record.table == table]
            if rows:
                self._insert(table, columns, rows)

    def _create_tables(self, tables: Mapping[str, Mapping[str, Type]]) -> None:
        for table, columns in tables.items():
            self._run(f"create table if not exists {self._name(table)} ({self.defined(columns)})")

    def defined(self, columns: Mapping[str, Type]) -> str:
        return ", ".join(f"{quote(name)} {self.type_name(kind)}" for name, kind in columns.items())

    def _columns_of(self, table: Table) -> str:
        return ", ".join(f"{quote(c.raw_name)} {self._column_type(c)}" for c in table.columns)

    def _column_type(self, column: Column) -> str:
        """The warehouse's name of a column's type."""
        return self.type_name(column.type)

    def _as_sent(self, column: Column, held: Mapping[str, Type | None]) -> str:
        """SQL of a stored column in the type in which the source sends it."""
        name, kind = quote(column.raw_name), held.get(column.raw_name, column.type)
        return name if kind is None else self._cast(name, kind, column.type)

    def _cast(self, value: str, before: Type, after: Type) -> str:
        """SQL of a value in another type."""
        return value if before == after else f"cast({value} as {self.type_name(after)})"

    def _equal(self, left: str, right: str, kind: Type) -> str:
        """SQL for whether two values are the same; neither is null."""
        return f"{left} = {right}"

    def _differ(self, left: str, right: str, kind: Type) -> str:
        """SQL for whether two values are not the same; null is the same as null."""
        return f"{left} is distinct from {right}"

    def type_name(self, kind: Type) -> str:
        """The warehouse's name of a type."""
        name = self.TYPE_NAMES[kind.kind]
        if kind.kind is Kind.DECIMAL:
            return f"{name}({kind.precision}, {kind.scale})"
        return name

    def _type_from(self, text: str) -> Type | None:
        """A type of the catalog as the loader's, or None for one that it never creates."""
        base, _, arguments = text.partition("(")
        for kind, name in self.TYPE_NAMES.items():
            if kind is Kind.DECIMAL and base == name and arguments:
                precision, scale = arguments.rstrip(")").split(",")
                return Type(kind, int(precision), int(scale))
            if text == name and kind is not Kind.DECIMAL:
                return Type(kind)
        return None


class Merge:
    """The statements that apply staged rows (`s`) to a published table (`t`)."""

    def __init__(
        self, warehouse: SqlDestination, table: Table, stamp: Stamp, within: Within | None
    ) -> None:
        self._warehouse, self._run, self._within = warehouse, warehouse._run, within
        self._target, self._staged = warehouse._name(table.raw_name), warehouse._staged(table)
        self._at, self._batch = literal(stamp.loaded_at), literal(stamp.batch_id)
        self._tombstone = (
            f"_deleted_at = {self._at}, _loaded_at = {self._at}, _batch_id = {self._batch}"
        )
        self._stamp = f"_loaded_at = {self._at}, _batch_id = {self._batch}"
        self._held = held = warehouse.columns(table.raw_name) or {}
        kinds = {column.raw_name: column.type for column in table.columns}
        self._values: dict[str, str] = {}
        for name, kind in held.items():
            if name in kinds:
                value = f"s.{quote(name)}"
                self._values[name] = (
                    value if kind is None else warehouse._cast(value, kinds[name], kind)
                )
            elif name not in METADATA_COLUMNS and kind is not None:
                # The source has dropped this column.
                self._values[name] = f"cast(null as {warehouse.type_name(kind)})"
        self._key = [column.raw_name for column in table.key_columns]
        self._row_ids = warehouse._row_id(table, "t"), warehouse._row_id(table, "s")
        self._kinds = {name: held[name] or kinds[name] for name in self._values}
        self._match = " and ".join(
            warehouse._equal(f"t.{quote(n)}", self._values[n], self._kinds[n]) for n in self._key
        )
        self._names = ", ".join(map(quote, self._values))
        self._offered = ", ".join(self._values.values())

    def by_key(self) -> tuple[int, int, int]:
        """Tombstones, revivals, updates, inserts; each row found by its key.

        What differs is found in one scan of the published table, and its rows again by their place.
        """
        differs = " or ".join(
            self._warehouse._differ(f"t.{quote(name)}", value, self._kinds[name])
            for name, value in self._values.items()
            if name not in self._key
        )
        # Of appended rows nothing says which are gone.
        gone = "t._deleted_at is null"
        if self._within is not None and self._within.partition is None:
            gone = "false"
        target, staged = self._row_ids
        differences = self._warehouse._create_temporary(
            "_load_differences",
            "select t._load_row, s._load_staged_row, case"
            " when s._load_staged_row is null then 'delete' when t._load_row is null then 'insert'"
            " when t._deleted_at is not null then 'revive' else 'update' end as _load_action"
            f" from (select *, {target} as _load_row from {self._target} as t"
            f" where {self._inside()}) as t"
            f" full join (select *, {staged} as _load_staged_row from {self._staged} as s) as s"
            f" on {self._match} where t._load_row is null or"
            f" case when s._load_staged_row is null then {gone}"
            f" else t._deleted_at is not null or {differs or 'false'} end",
        )
        from_staged = (
            f"from {differences} as d, {self._staged} as s where {staged} = d._load_staged_row"
        )
        assign = ", ".join(f"{quote(name)} = {value}" for name, value in self._values.items())
        update = f"update {self._target} as t set {assign}, _deleted_at = null, {self._stamp}"
        deleted = self._run(
            f"update {self._target} as t set {self._tombstone} from {differences} as d"
            f" where {target} = d._load_row and d._load_action = 'delete'"
        )
        revived, updated = (
            self._run(
                f"{update} {from_staged} and {target} = d._load_row and _load_action = '{action}'"
            )
            for action in ("revive", "update")
        )
        inserted = self._run(
            f"insert into {self._target} ({self._names}, _loaded_at, _batch_id)"
            f" select {self._offered}, {self._at}, {self._batch} {from_staged}"
            " and _load_action = 'insert'"
        )
        self._run(f"drop table {differences}")
        return inserted + revived, updated, deleted

    def by_whole_rows(self) -> tuple[int, int, int]:
        """For tables without a usable key: what is gone gets a tombstone, what is new is inserted.

        Equal rows are told apart by their count only.
        """
        offered = f"select {self._offered} from {self._staged} as s"
        held = f"select {self._names} from {self._target} where _deleted_at is null"
        row_id, _ = self._row_ids
        # Windows, not a join: "is not distinct from" cannot be hashed, and would compare all pairs.
        both = (
            f"select {row_id} as _load_row, {self._names}, 0 as _load_staged"
            f" from {self._target} as t where _deleted_at is null"
            f" union all select null, {self._offered}, 1 from {self._staged} as s"
        )
        deleted = self._run(
            f"update {self._target} as t set {self._tombstone} from (select _load_row from"
            " (select _load_row, _load_staged,"
            f" row_number() over (partition by {self._names}, _load_staged) as _load_number,"
            f" sum(_load_staged) over (partition by {self._names}) as _load_staged_count"
            f" from ({both}) as both_sides) as counted"
            f" where _load_staged = 0 and _load_number > _load_staged_count) as gone"
            f" where {row_id} = gone._load_row"
        )
        inserted = self._run(
            f"insert into {self._target} ({self._names}, _loaded_at, _batch_id)"
            f" select *, {self._at}, {self._batch} from ({offered} except all {held}) as fresh"
        )
        return inserted, 0, deleted

    def append(self) -> int:
        """For tables without a key of which only new rows were read."""
        return self._run(
            f"insert into {self._target} ({self._names}, _loaded_at, _batch_id)"
            f" select {self._offered}, {self._at}, {self._batch} from {self._staged} as s"
        )

    def _inside(self) -> str:
        """SQL for whether a published row may have something to do with what was staged."""
        if self._within is None or self._within.partition is None:
            return "true"
        name, width = self._within.partition.column.raw_name, self._within.partition.width
        number = self._warehouse._range_number(f"t.{quote(name)}", self._held[name], width)
        numbers = ", ".join(map(str, sorted(self._within.numbers))) or "null"
        return f"{number} in ({numbers})"


def escaped_sql(text: str) -> str:
    """SQL that escapes text for the wire."""
    for plain, escaped in ESCAPES.items():
        text = f"replace({text}, chr({ord(plain)}), '{escaped}')"
    return text


def quote(name: str) -> str:
    """An identifier in SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str | int | datetime | None) -> str:
    """A value in SQL."""
    if value is None:
        return "null"
    if isinstance(value, datetime):
        return f"timestamp '{value.isoformat(' ')}'"
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"
