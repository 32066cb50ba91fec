"""How the source's tables and columns changed since the last run, and what the warehouse does."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from .errors import LoadError
from .schema import METADATA_COLUMNS, NO_VALUES, Column, Table, Type, widest

HASHED = "hashed"
TABLE_DROPPED = "table dropped"
# Raw table -> raw column -> how the source declared it.
Schemas = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class SchemaChange:
    """One change of a table (no column) or of a column; `before` and `after` as declared."""

    table: str
    column: str | None
    change: str
    before: str | None = None
    after: str | None = None

    def __str__(self) -> str:
        name = f"{self.table}.{self.column}" if self.column else self.table
        types = f" from {self.before} to {self.after}" if self.before and self.after else ""
        return f"{name}: {self.change}{types}"


def summed_up(changes: Iterable[SchemaChange]) -> list[str]:
    """The changes for people: of a table that came or went, not each column."""
    changes = list(changes)
    whole = {change.table for change in changes if change.column is None}
    return [str(change) for change in changes if not (change.column and change.table in whole)]


def declared(column: Column) -> str:
    """How the source declares a column, with its nullability, and whether it is hashed."""
    treated = f" {HASHED} {column.hashed}" if column.hashed else ""
    return (column.declared or "untyped") + treated + ("" if column.nullable else " not null")


def is_rekeyed(column: Column | None, before: Mapping[str, str], raw_name: str) -> bool:
    """Whether a key column is excluded (None) or hashed in another way than `before`."""
    if column is None or raw_name not in before:
        return column is None and raw_name in before
    words = before[raw_name].removesuffix(" not null").split()
    return column.hashed != (words[-1] if words[-2:-1] == [HASHED] else "")


def table_changes(table: Table, known: Schemas) -> list[SchemaChange]:
    """How a table differs from what it was when last seen."""
    name, before = table.raw_name, known.get(table.raw_name)
    now = {column.raw_name: declared(column) for column in table.columns}
    if not before:
        added = [SchemaChange(name, c, "column added", after=text) for c, text in now.items()]
        return [SchemaChange(name, None, "table added"), *added]
    return list(_column_changes(name, before, now))


def _column_changes(
    table: str, before: Mapping[str, str], now: Mapping[str, str]
) -> Iterator[SchemaChange]:
    for column, text in now.items():
        if column not in before:
            yield SchemaChange(table, column, "column added", after=text)
        elif before[column] != text and not text.startswith(NO_VALUES):
            plain = [words.removesuffix(" not null") for words in (before[column], text)]
            change = "type changed" if plain[0] != plain[1] else "nullability changed"
            yield SchemaChange(table, column, change, before[column], text)
    for column, text in before.items():
        if column not in now:
            yield SchemaChange(table, column, "column dropped", before=text)


def dropped_tables(present: set[str], known: Schemas) -> list[SchemaChange]:
    """Tables that the source no longer has; their rows stay as they are."""
    return [
        change
        for table in known
        if table not in present and known[table]
        for change in (
            SchemaChange(table, None, TABLE_DROPPED),
            *(SchemaChange(table, c, "column dropped", before=t) for c, t in known[table].items()),
        )
    ]


def without_new_columns(table: Table, known: Schemas) -> Table:
    """The table with only the columns that the last run saw."""
    before = known.get(table.raw_name)
    if not before:
        return table
    known_columns = tuple(column for column in table.columns if column.raw_name in before)
    names = {column.name for column in known_columns}
    return replace(
        table, columns=known_columns, key=table.key if names.issuperset(table.key) else ()
    )


def widened_types(table: Table, existing: Mapping[str, Type | None]) -> dict[str, Type]:
    """Raw columns that must become wider to hold what the source sends now, and their new types.

    Raises LoadError when the relation is not the loader's, or no type holds both.
    """
    if not all(name in existing for name in METADATA_COLUMNS):
        raise LoadError(
            f"The relation {table.raw_name} in the raw schema was not made by this loader (it has"
            " no _loaded_at): move it away, or choose another --raw-schema."
        )
    widened = {}
    for column in table.columns:
        if column.raw_name not in existing:
            continue
        held = existing[column.raw_name]
        if held is not None and column.declared == NO_VALUES:
            continue
        wider = widest(held, column.type) if held is not None else None
        if wider is None:
            raise LoadError(
                f"The source column {table.name}.{column.name} is {column.type} now, but"
                f" {held or 'of a foreign type'} in the warehouse, and no type holds both: load it"
                " again with --full-refresh, or exclude it."
            )
        if wider != held:
            widened[column.raw_name] = wider
    return widened
