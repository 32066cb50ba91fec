"""What has to be known of MariaDB's tables to read keys in its log: places, types, foreign keys."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..schema import Table
from ..sources.mysql_connection import Rows
from .binlog_values import INTEGERS, READERS, KeyColumn

COLUMNS = """
select
    table_name, column_name, ordinal_position, data_type, column_type, character_set_name,
    character_octet_length
from information_schema.columns where table_schema = database()
"""
# Columns that the log has and the catalog does not: of unique keys over long values, and the two of
# a table that keeps its old rows, where they are not declared.
HIDDEN = """
select t.table_name, count(distinct s.index_name), t.table_type = 'SYSTEM VERSIONED'
from information_schema.tables as t
left join information_schema.statistics as s
    on t.table_schema = s.table_schema and t.table_name = s.table_name and s.index_type = 'HASH'
    and t.engine <> 'MEMORY'
where t.table_schema = database() group by 1, 3
"""
VIEWS = """
select table_name from information_schema.tables
where table_schema = database() and table_type not in ('BASE TABLE', 'SYSTEM VERSIONED')
"""
# Rows that these change are not in the log.
CASCADES = """
select
    r.unique_constraint_schema, r.referenced_table_name, r.table_name, r.delete_rule, r.update_rule,
    group_concat(k.referenced_column_name)
from information_schema.referential_constraints as r
inner join information_schema.key_column_usage as k
    on r.constraint_schema = k.constraint_schema and r.constraint_name = k.constraint_name
    and r.table_name = k.table_name
where
    r.constraint_schema = database()
    and (
        r.delete_rule in ('CASCADE', 'SET NULL', 'SET DEFAULT')
        or r.update_rule in ('CASCADE', 'SET NULL', 'SET DEFAULT')
    )
group by 1, 2, 3, 4, 5, r.constraint_name
"""
CHANGES = ("CASCADE", "SET NULL", "SET DEFAULT")


@dataclass
class Shape:
    """One table of the source. Without `columns` it is compared as a whole, and `why` says why."""

    raw_name: str
    key: tuple[str, ...] = ()
    columns: tuple[KeyColumn, ...] = ()
    why: str = ""
    # How many columns the log may have of it.
    widths: tuple[int, ...] = ()
    # The log says nothing of it at all.
    is_silent: bool = False
    # Raw tables whose rows change with a row of this one that is deleted, or whose key changes.
    after_delete: set[str] = field(default_factory=set)
    after_update: set[str] = field(default_factory=set)
    # Every update may change what foreign keys refer to.
    after_any_update: bool = False


def read_shapes(rows: Rows, tables: Sequence[Table], database: str) -> dict[tuple[str, str], Shape]:
    """By database and name, each table that is followed, and others on which they hang."""
    columns: dict[str, dict[str, KeyColumn]] = {}
    for name, column, place, base, declared, charset, octets in rows(COLUMNS):
        found = KeyColumn(
            int(place) - 1, base, "unsigned" in declared, charset or "", int(octets or 0)
        )
        columns.setdefault(name, {})[column] = found
    shapes = {(database, table.name): _shape(table, columns[table.name]) for table in tables}
    for name, hashes, is_versioned in rows(HIDDEN):
        if (database, name) in shapes:
            width = len(columns[name]) + int(hashes)
            shapes[database, name].widths = (width, width + 2) if int(is_versioned) else (width,)
    for (name,) in rows(VIEWS):
        if (database, name) in shapes:
            shapes[database, name].is_silent = True
            shapes[database, name].why = "it is a view"
    cascades = rows(CASCADES)
    for schema, parent, child, on_delete, on_update, referenced in cascades:
        shape = shapes.setdefault((schema, parent), Shape(""))
        shapes.setdefault((database, child), Shape(""))
        if on_delete in CHANGES:
            shape.after_delete.add(child)
        if on_update in CHANGES:
            shape.after_update.add(child)
            if not set(referenced.split(",")) <= set(shape.key):
                shape.after_any_update = True
    _close(shapes, database)
    raw_names = {table.name: table.raw_name for table in tables}
    for shape in shapes.values():
        # Only now: a cascade goes also through a table that is not followed.
        shape.after_delete = {raw_names[c] for c in shape.after_delete if c in raw_names}
        shape.after_update = {raw_names[c] for c in shape.after_update if c in raw_names}
    return shapes


def _shape(table: Table, columns: dict[str, KeyColumn]) -> Shape:
    if not table.key:
        return Shape(table.raw_name, why="it has no key")
    key = tuple(columns[name] for name in table.key)
    hashed = next((c.name for c in table.key_columns if c.hashed), "")
    if hashed:
        return Shape(table.raw_name, why=f"its key {hashed} is hashed")
    for name, column in zip(table.key, key, strict=True):
        if column.base not in INTEGERS | READERS:
            why = f"a key of the type {column.base} ({name}) is not read from the log"
            return Shape(table.raw_name, why=why)
    return Shape(table.raw_name, table.key, key)


def _close(shapes: dict[tuple[str, str], Shape], database: str) -> None:
    """Let what hangs on a child hang on its parent too: a cascade goes on."""
    grows = True
    while grows:
        grows = False
        for shape in shapes.values():
            for children in (shape.after_delete, shape.after_update):
                more: set[str] = set()
                for child in children:
                    hanging = shapes[database, child]
                    more |= hanging.after_delete | hanging.after_update
                if not more <= children:
                    children |= more
                    grows = True
