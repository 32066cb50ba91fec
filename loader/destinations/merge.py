"""The statements that bring a published table to the staged state."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..dialects.standard import literal, quote
from ..ranges import Key
from ..schema import METADATA_COLUMNS, TEXT, TIMESTAMP, Table
from .base import Stamp, Within

if TYPE_CHECKING:
    from .sql import SqlDestination


class Merge:
    """The statements that apply staged rows (`s`) to a published table (`t`)."""

    def __init__(
        self, warehouse: "SqlDestination", table: Table, stamp: Stamp, within: Within | None
    ) -> None:
        self._warehouse, self._run, self._within = warehouse, warehouse._run, within
        self._target, self._staged = warehouse._name(table.raw_name), warehouse._staged(table)
        self._table_name = literal(table.raw_name)
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
            elif name not in (*METADATA_COLUMNS, *dict(table.unknown)) and kind is not None:
                # The source has dropped this column.
                self._values[name] = f"cast(null as {warehouse.type_name(kind)})"
        self._key = [column.raw_name for column in table.key_columns]
        self._row_ids = warehouse._row_id(table, "t"), warehouse._row_id(table, "s")
        self._kinds = {name: held[name] or kinds[name] for name in self._values}
        self._sent = [kinds[name] for name in self._key]
        self._match = " and ".join(
            warehouse._equal(f"t.{quote(n)}", self._values[n], self._kinds[n]) for n in self._key
        )
        # The name of the table of the keys that were read, where these are the part.
        self._keys = ""
        self._names = ", ".join(map(quote, self._values))
        self._offered = ", ".join(self._values.values())

    def by_key(self) -> tuple[int, int, int]:
        """Tombstones, revivals, updates, inserts; each row found by its key.

        One scan of the published table finds the differences; the updates then go by row id.
        """
        differs = " or ".join(
            self._warehouse._differ(f"t.{quote(name)}", value, self._kinds[name])
            for name, value in self._values.items()
            if name not in self._key
        )
        # Appended rows do not tell which rows are gone.
        gone = "t._deleted_at is null"
        if self._within is not None and not self._within.shows_deleted:
            gone = "false"
        inside = self._inside()
        target, staged = self._row_ids
        differences = self._warehouse._create_temporary(
            "_load_differences",
            "select t._load_row, s._load_staged_row, case"
            " when s._load_staged_row is null then 'delete' when t._load_row is null then 'insert'"
            " when t._deleted_at is not null then 'revive' else 'update' end as _load_action"
            f" from (select *, {target} as _load_row from {self._target} as t"
            f" where {inside}) as t"
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
        if inserted and self._within is not None and self._within.commits:
            self._save_commits(f"{from_staged} and _load_action = 'insert'")
        self._run(f"drop table {differences}")
        if self._keys:
            self._run(f"drop table {self._keys}")
        return inserted + revived, updated, deleted

    def _save_commits(self, from_new: str) -> None:
        """Store when rows were committed that the published table did not know; a first time stays.

        `from_new`: SQL of these rows, which are called `s` there.
        """
        assert self._within is not None
        warehouse, (name,), (sent,) = self._warehouse, self._key, self._sent
        kind = self._kinds[name]
        moment = warehouse.type_name(TIMESTAMP)
        times = ", ".join(
            f"({warehouse._value(key, sent)}, cast({literal(at)} as {moment}))"
            for (key,), at in self._within.commits.items()
        )
        table = warehouse._name("_load_commits")
        warehouse.prepare_commits()
        self._run(
            f"insert into {table} (table_name, row_key, committed_at, batch_id)"
            f" select {self._table_name}, row_key, committed_at, {self._batch}"
            f" from (select {warehouse._cast('new_key', kind, TEXT)} as row_key, new_key"
            f" from (select {self._values[name]} as new_key {from_new}) as new_rows) as keyed"
            f" inner join (values {times}) as v (k0, committed_at)"
            f" on {warehouse._equal('new_key', warehouse._cast('v.k0', sent, kind), kind)}"
            f" where not exists (select 1 from {table} as known where known.row_key = keyed.row_key"
            f" and known.table_name = {self._table_name})"
        )

    def by_whole_rows(self) -> tuple[int, int, int]:
        """For tables without a usable key: what is gone gets a tombstone, what is new is inserted.

        Of equal rows only the count matters.
        """
        offered = f"select {self._offered} from {self._staged} as s"
        held = f"select {self._names} from {self._target} where _deleted_at is null"
        row_id, _ = self._row_ids
        # Windows, not a join, because one on "is not distinct from" compares all pairs.
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
        """For tables without a key when only new rows were read."""
        return self._run(
            f"insert into {self._target} ({self._names}, _loaded_at, _batch_id)"
            f" select {self._offered}, {self._at}, {self._batch} from {self._staged} as s"
        )

    def _inside(self) -> str:
        """SQL for whether a published row lies in the part that was staged."""
        if self._within is not None and self._within.keys is not None:
            self._keys = self._create_keys(self._within.keys)
            return f"exists (select 1 from {self._keys} as k where {self._matching('k')})"
        if self._within is None or self._within.partition is None:
            return "true"
        name, width = self._within.partition.column.raw_name, self._within.partition.width
        number = self._warehouse._range_number(f"t.{quote(name)}", self._held[name], width)
        numbers = ", ".join(map(str, sorted(self._within.numbers))) or "null"
        return f"{number} in ({numbers})"

    def _matching(self, alias: str) -> str:
        """SQL for whether a published row has the key that a row of `_load_keys` has."""
        return " and ".join(
            self._warehouse._equal(f"t.{quote(name)}", f"{alias}.k{n}", self._kinds[name])
            for n, name in enumerate(self._key)
        )

    def _create_keys(self, keys: Sequence[Key]) -> str:
        """Store the keys that were read, in the types of the published table."""
        cast, kinds = self._warehouse._cast, [self._kinds[name] for name in self._key]
        columns = [
            cast(f"v.k{n}", sent, kind)
            for n, (sent, kind) in enumerate(zip(self._sent, kinds, strict=True))
        ]
        named = ", ".join(f"{value} as k{n}" for n, value in enumerate(columns))
        rows = ", ".join(
            f"({', '.join(map(self._warehouse._value, key, self._sent))})" for key in keys
        )
        names = ", ".join(f"k{n}" for n in range(len(self._key)))
        return self._warehouse._create_temporary(
            "_load_keys", f"select {named} from (values {rows}) as v ({names})"
        )
