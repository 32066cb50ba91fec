"""Where Redshift's SQL differs from PostgreSQL's: types, comparisons, changed columns."""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from ...dialects.postgres import TYPE_NAMES
from ...dialects.standard import literal, quote
from ...schema import TEXT, Column, Kind, Table, Type
from ..base import Stamp, Within
from ..merge import Merge
from ..sql import SqlDestination
from .merge import RedshiftMerge
from .rows import BINARY_BYTES, CHARACTER_BYTES, TEXT_BYTES, line_sql


class RedshiftSql(SqlDestination):
    """The part of the destination that is only SQL."""

    type_names: ClassVar[Mapping[Kind, str]] = {
        **TYPE_NAMES,
        Kind.TEXT: f"character varying({TEXT_BYTES})",
        Kind.BINARY: f"varbyte({BINARY_BYTES})",
    }
    # Recent rows are read most. No key, so that any column can be replaced by a wider one.
    table_options: ClassVar[str] = " diststyle even sortkey (_loaded_at)"

    def _merge(self, table: Table, stamp: Stamp, within: Within | None) -> Merge:
        return RedshiftMerge(self, table, stamp, within)

    def _column_type(self, column: Column) -> str:
        if column.type == TEXT and column.length:
            return f"character varying({min(column.length * CHARACTER_BYTES, TEXT_BYTES)})"
        return self.type_name(column.type)

    def _cast(self, value: str, before: Type, after: Type) -> str:
        if (before.kind, after.kind) == (Kind.BOOLEAN, Kind.TEXT):
            return f"case when {value} then 'true' when not {value} then 'false' end"
        if (before.kind, after.kind) == (Kind.TEXT, Kind.BOOLEAN):
            return f"case {value} when 'true' then true when 'false' then false end"
        if (before.kind, after.kind) == (Kind.BINARY, Kind.TEXT):
            return f"lower(to_hex({value}))"
        return super()._cast(value, before, after)

    def _compared(self, value: str, kind: Type) -> list[str]:
        return [value, f"octet_length({value})"] if kind == TEXT else [value]

    def _is_ascending(self, key: Sequence[str], rows: str) -> bool:
        # Its windows need an order, so that this would cost more than it saves.
        return False

    def _equal(self, left: str, right: str, kind: Type) -> str:
        # A comparison of texts ignores blanks at the end.
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
        return f"md5({line_sql(fields)})"

    def _create_temporary(self, name: str, query: str) -> str:
        self._run(f"create temporary table {name} as {query}")
        return name

    def _range_number(self, key: str, kind: Type | None, width: int) -> str:
        # Without a remainder, the division of decimals has nothing to round.
        return f"({key} - mod({key}, {width})) / {width}"

    def _change_type(self, table: str, column: str, kind: Type) -> None:
        before = (self.columns(table) or {})[column]
        value = quote(column) if before is None else self._cast(quote(column), before, kind)
        self._replace_column(table, column, value, self.type_name(kind))

    def _replace_column(self, table: str, column: str, value: str, type_name: str) -> None:
        """Replace a column by another one: its type cannot change within a transaction."""
        name = self._name(table)
        self._run(f"alter table {name} add column _load_replacement {type_name}")
        self._run(f"update {name} set _load_replacement = {value}")
        self._run(f"alter table {name} drop column {quote(column)}")
        self._run(f"alter table {name} rename column _load_replacement to {quote(column)}")

    def _type_from(self, text: str) -> Type | None:
        for kind, name in ((Kind.TEXT, "character varying"), (Kind.BINARY, "binary varying")):
            if text.partition("(")[0] in (name, self.type_names[kind].partition("(")[0]):
                return Type(kind)
        return super()._type_from(text)

    def _declared(self, raw_table: str) -> dict[str, str]:
        """Columns of a raw table, and their types as the catalog shows them."""
        return dict(
            self._rows(
                "select a.attname, format_type(a.atttypid, a.atttypmod) from pg_attribute as a"
                " inner join pg_class as c on a.attrelid = c.oid"
                " inner join pg_namespace as n on c.relnamespace = n.oid"
                f" where n.nspname = {literal(self.schema)} and c.relname = {literal(raw_table)}"
                " and a.attnum > 0 and not a.attisdropped order by a.attnum"
            )
        )


def varchar_bytes(declared: str) -> int:
    """The bytes of a varchar; the largest number for another type."""
    found = re.fullmatch(r"character varying\((\d+)\)", declared)
    return int(found[1]) if found else TEXT_BYTES
