"""What the warehouses share: plain SQL for publishing, for the audit and for the state.

PostgreSQL, DuckDB and Amazon Redshift read this SQL alike. A destination adds how it runs a
statement, what its types are called and where its rows are staged.
"""

from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, ClassVar

from ..audit import COMMIT_TABLES, POSITION_TABLES, RUN_TABLES, STATE_TABLES, TABLES, Record
from ..dialects.standard import literal, quote
from ..ranges import Digest, Digests, Key, State, blocks_of, difference, range_of
from ..schema import TEXT, Column, Kind, Table, Type
from ..wire import unescape
from .base import Changes, Destination, KeyFault, Rows, Stamp, Within
from .merge import Merge


class SqlDestination(Destination):
    """The part of a destination that is plain SQL."""

    type_names: ClassVar[Mapping[Kind, str]]
    # What follows the columns in the statement that creates a raw table.
    table_options: ClassVar[str] = ""

    def __init__(self, raw_schema: str) -> None:
        self.schema = raw_schema
        self.longest: Mapping[Kind, int] = {}
        self._states: dict[str, State] | None = None

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

    def _staged_parts(self, table: Table) -> Iterable[str]:
        """The same in parts, to be published one after the other."""
        return [self._staged(table)]

    @abstractmethod
    def _doing(self, what: str) -> AbstractContextManager[None]:
        """Turns the driver's errors into a LoadError that says what was being done."""

    @abstractmethod
    def _row_id(self, table: Table, alias: str) -> str:
        """SQL of an identity for each row of a table, different even for equal rows."""

    @abstractmethod
    def _create_temporary(self, name: str, query: str) -> str:
        """Store the rows of a query for this run; returns the name of the table."""

    @abstractmethod
    def _range_number(self, key: str, kind: Type | None, width: int) -> str:
        """SQL of a key's range number: division towards zero."""

    @abstractmethod
    def _change_type(self, table: str, column: str, kind: Type) -> None:
        """Widen a column; views on the table keep working."""

    def last_loaded_at(self) -> datetime | None:
        if not self.columns("_load_runs"):
            return None
        ((newest,),) = self._rows(f"select max(started_at) from {self._name('_load_runs')}")
        return newest  # type: ignore[no-any-return]

    def state(self, raw_table: str) -> State | None:
        # A watcher's batches need none, and all digests of a large shop take a while.
        if self._states is None:
            with self._doing("reading its state"):
                self._states = self._read_states()
        return self._states.get(raw_table)

    def schemas(self) -> dict[str, dict[str, str]]:
        return self._read_schemas() if self.columns("_load_schema_changes") else {}

    def publish(
        self,
        table: Table,
        stamp: Stamp,
        *,
        keyed: bool,
        within: Within | None = None,
        live: int | None = None,
    ) -> Changes:
        with self._doing(f"publishing the table {table.raw_name}"):
            merge = self._merge(table, stamp, within)
            if keyed:
                inserted, updated, deleted = merge.by_key()
            elif within is not None:
                inserted, updated, deleted = merge.append(), 0, 0
            else:
                inserted, updated, deleted = merge.by_whole_rows()
            if live is None:
                live = self.live_rows(table.raw_name)
            else:
                live += inserted - deleted
            return Changes(inserted, updated, deleted, live)

    def _merge(self, table: Table, stamp: Stamp, within: Within | None) -> Merge:
        return Merge(self, table, stamp, within)

    def _publish_first(self, table: Table, stamp: Stamp) -> Changes:
        """Create the raw table from all staged rows."""
        name = self._name(table.raw_name)
        with self._doing(f"publishing the table {table.raw_name}"):
            self._run(
                f"create table {name} ({self._columns_of(table)}, {self._columns_of_stamp})"
                f"{self.table_options}"
            )
            rows = sum(
                self._run(f"insert into {name} select *, {self._stamped(stamp)} from {part}")
                for part in self._staged_parts(table)
            )
        return Changes(inserted=rows, live=rows)

    @property
    def _batch_id_options(self) -> str:
        """What follows the definition of the column _batch_id in a new raw table."""
        return ""

    @property
    def _columns_of_stamp(self) -> str:
        moment, text = self.type_names[Kind.TIMESTAMP], self.type_name(TEXT)
        return (
            f"_loaded_at {moment} not null, _batch_id {text} not null{self._batch_id_options},"
            f" _deleted_at {moment}"
        )

    @staticmethod
    def _stamped(stamp: Stamp) -> str:
        """SQL of the values of these columns in a new row."""
        return f"{literal(stamp.loaded_at)}, {literal(stamp.batch_id)}, null"

    def key_fault(self, table: Table, rows: Rows) -> KeyFault | None:
        staged = rows is Rows.STAGED
        held = {} if staged else self.columns(table.raw_name) or {}
        key = {quote(c.raw_name): held.get(c.raw_name) or c.type for c in table.key_columns}
        has_null = " or ".join(f"{name} is null" for name in key)
        # As `_equal` compares them.
        groups = [part for name, kind in key.items() for part in self._compared(name, kind)]
        relation = self._staged(table) if staged else self._name(table.raw_name)
        where = {
            Rows.STAGED: "true",
            Rows.LIVE: "_deleted_at is null",
            Rows.PUBLISHED: f"not ({has_null})",
        }[rows]
        faults = (
            f"(select {', '.join(key)}, count(*) as _load_rows from {relation} where {where}"
            f" group by {', '.join(groups)} having count(*) > 1 or {has_null}) as faults"
        )
        with self._doing(f"checking the key of {table.raw_name}"):
            if self._is_ascending(list(key), f"{relation} where {where}"):
                return None
            ((count,),) = self._rows(f"select sum(_load_rows) from {faults}")
            if count is None:
                return None
            names = ", ".join(key)
            texts = ", ".join(self._cast(name, kind, TEXT) for name, kind in key.items())
            ((*sample,),) = self._rows(
                f"select {texts} from (select {names} from {faults} order by {names} limit 1) as s"
            )
        shown = ", ".join("null" if value is None else str(value) for value in sample)
        return KeyFault(int(count), shown)

    def _is_ascending(self, key: Sequence[str], rows: str) -> bool:
        """Whether each row has a greater key than the row before, in whatever order they come.

        That proves that no key is there twice, and costs a fraction of grouping the rows.
        """
        before = [f"_load_before_{n}" for n in range(len(key))]
        lags = ", ".join(f"lag({name}) over () as {b}" for name, b in zip(key, before, strict=True))
        equal = [f"{name} = {b} and " for name, b in zip(key, before, strict=True)]
        greater = " or ".join(
            f"{''.join(equal[:n])}{key[n]} > {before[n]}" for n in range(len(key))
        )
        has_null = " or ".join(f"{name} is null" for name in key)
        return not self._rows(
            f"select 1 from (select {', '.join(key)}, {lags} from {rows}) as steps"
            f" where not ({greater}) or {has_null} limit 1"
        )

    def live_rows(self, raw_table: str) -> int:
        sql = f"select count(*) from {self._name(raw_table)} where _deleted_at is null"
        ((rows,),) = self._rows(sql)
        return int(rows)

    def evolve(self, raw_table: str, added: Sequence[Column], widened: Mapping[str, Type]) -> None:
        with self._doing(f"changing the columns of {raw_table}"):
            for column in added:
                self._run(
                    f"alter table {self._name(raw_table)} add column {quote(column.raw_name)}"
                    f" {self._column_type(column)}"
                )
        for name, kind in widened.items():
            with self._doing(f"changing {raw_table}.{name} to {kind}"):
                self._change_type(raw_table, name, kind)

    def empty(self, raw_table: str) -> None:
        with self._doing(f"emptying the table {raw_table}"):
            self._run(f"delete from {self._name(raw_table)}")

    def save_state(self, raw_table: str, before: State | None, now: State | None) -> None:
        with self._doing(f"storing the state of {raw_table}"):
            self._create_tables(STATE_TABLES)
            of_table = f"where table_name = {literal(raw_table)}"
            if (before and (before.fingerprint, before.width)) != (
                now and (now.fingerprint, now.width)
            ):
                self._run(f"delete from {self._name('_load_state')} {of_table}")
                if now is not None:
                    row = (raw_table, now.fingerprint, now.width)
                    self._insert("_load_state", STATE_TABLES["_load_state"], [row])
            old, new = (state.digests if state else Digests() for state in (before, now))
            self._save_digests("_load_ranges", raw_table, old, new)
            self._save_digests("_load_blocks", raw_table, old.blocks, new.blocks)

    def forget_digests(self, raw_table: str, keys: Collection[Key]) -> None:
        with self._doing(f"storing the state of {raw_table}"):
            if not self.columns("_load_state"):
                return
            of_table = f"where table_name = {literal(raw_table)}"
            widths = self._rows(f"select width from {self._name('_load_state')} {of_table}")
            if not widths:
                return
            width = int(widths[0][0])
            blocks = self._rows(f"select number from {self._name('_load_blocks')} {of_table}")
            of_keys = {range_of(int(key[0]), width) for key in keys}
            starts = sorted(int(number) for (number,) in blocks)
            for name, found in (
                ("_load_ranges", of_keys),
                ("_load_blocks", blocks_of(of_keys, starts)),
            ):
                numbers = sorted(found)
                for first in range(0, len(numbers), 10_000):
                    listed = ", ".join(map(str, numbers[first : first + 10_000]))
                    self._run(
                        f"update {self._name(name)} set digest = '' {of_table}"
                        f" and number in ({listed}) and digest <> ''"
                    )

    def position(self, source: str) -> str | None:
        return self._read_positions().get(source)

    def save_position(self, source: str, position: str | None) -> None:
        with self._doing("storing the position of the log"):
            self._create_tables(POSITION_TABLES)
            self._run(f"delete from {self._name('_load_position')}")
            if position is not None:
                row = (source, position, datetime.now(UTC).replace(tzinfo=None))
                self._insert("_load_position", POSITION_TABLES["_load_position"], [row])

    def _read_positions(self) -> dict[str, str]:
        """By source; there is one at most."""
        if not self.columns("_load_position"):
            return {}
        return dict(self._rows(f"select source, position from {self._name('_load_position')}"))

    def _save_digests(
        self, name: str, raw_table: str, old: Mapping[int, Digest], new: Mapping[int, Digest]
    ) -> None:
        deleted, stored = difference(old, new)
        for start in range(0, len(deleted), 10_000):
            numbers = ", ".join(map(str, deleted[start : start + 10_000]))
            self._run(
                f"delete from {self._name(name)} where table_name = {literal(raw_table)}"
                f" and number in ({numbers})"
            )
        if stored:
            rows = [(raw_table, n, digest.rows, digest.value) for n, digest in stored.items()]
            self._insert(name, STATE_TABLES[name], rows)

    def _read_states(self) -> dict[str, State]:
        """All stored states by raw table; none where no run has stored any."""
        if not self.columns("_load_ranges"):
            return {}
        states = {
            table: State(mark, int(width))
            for table, mark, width in self._rows(
                f"select table_name, fingerprint, width from {self._name('_load_state')}"
            )
        }
        for name in ("_load_ranges", "_load_blocks"):
            # Older loaders had no blocks.
            for table, number, rows, value in (
                self._rows(f"select table_name, number, row_count, digest from {self._name(name)}")
                if self.columns(name)
                else ()
            ):
                if table in states:
                    digests = states[table].digests
                    held = digests if name == "_load_ranges" else digests.blocks
                    held[number] = Digest(rows, value)
        return states

    def _read_schemas(self) -> dict[str, dict[str, str]]:
        """By raw table: its source columns and how they were declared when last seen.

        A table that is gone from the source has none.
        """
        schemas: dict[str, dict[str, str]] = {}
        for table, column, declared in self._rows(
            "select table_name, column_name, declared_after from"
            " (select *, row_number() over (partition by table_name, column_name"
            " order by batch_id desc) as age"
            f" from {self._name('_load_schema_changes')}) as changes where age = 1"
        ):
            columns = schemas.setdefault(table, {})
            if declared is not None:
                columns[column] = declared
        return schemas

    def _write(self, records: Sequence[Record]) -> None:
        """Write audit rows."""
        self._create_tables(TABLES | COMMIT_TABLES | RUN_TABLES)
        for table, columns in TABLES.items():
            rows = [record.row for record in records if record.table == table]
            if rows:
                self._insert(table, columns, rows)

    def _create_tables(self, tables: Mapping[str, Mapping[str, Type]]) -> None:
        for table, columns in tables.items():
            self._run(f"create table if not exists {self._name(table)} ({self.defined(columns)})")

    def prepare_commits(self) -> None:
        """Make the table of the times of commits, so that a key is found among many."""
        self._create_tables(COMMIT_TABLES)

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

    def _value(self, field: bytes, kind: Type) -> str:
        """SQL of a value that travels as this field; it is not null."""
        if kind.kind is Kind.BINARY:
            return self._bytes(field.removeprefix(b"\\x5Cx").decode())
        return f"cast({literal(unescape(field).decode())} as {self.type_name(kind)})"

    def _bytes(self, digits: str) -> str:
        """SQL of bytes, from their hexadecimal digits."""
        return f"decode('{digits}', 'hex')"

    def _equal(self, left: str, right: str, kind: Type) -> str:
        """SQL for whether two values are the same; neither is null."""
        return f"{left} = {right}"

    def _compared(self, value: str, kind: Type) -> list[str]:
        """SQL of what must be the same for `_equal`."""
        return [value]

    def _differ(self, left: str, right: str, kind: Type) -> str:
        """SQL for whether two values are not the same; null is the same as null."""
        return f"{left} is distinct from {right}"

    def type_name(self, kind: Type) -> str:
        """The warehouse's name of a type."""
        name = self.type_names[kind.kind]
        if kind.kind is Kind.DECIMAL:
            return f"{name}({kind.precision}, {kind.scale})"
        return name

    def _type_from(self, text: str) -> Type | None:
        """A type of the catalog as the loader's, or None for one that it never creates."""
        base, _, arguments = text.partition("(")
        for kind, name in self.type_names.items():
            if kind is Kind.DECIMAL and base == name and arguments:
                precision, scale = arguments.rstrip(")").split(",")
                return Type(kind, int(precision), int(scale))
            if text == name and kind is not Kind.DECIMAL:
                return Type(kind)
        return None
