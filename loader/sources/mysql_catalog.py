"""The tables of a MySQL database as its catalog describes them."""

from collections.abc import Iterator
from typing import Any

from ..errors import LoadError
from ..schema import MAX_DECIMAL_DIGITS, TEXT, Column, Table
from .base import VIEW, Wanted
from .mysql_connection import Rows
from .mysql_values import GEOMETRIES, quote, type_of

# Storage engines whose tables take part in a consistent snapshot.
SNAPSHOT_ENGINES = {"InnoDB", "ROCKSDB", "ndbcluster"}

# Kinds of relations that are loaded. Of a versioned table a query shows the current rows.
TABLES = {"BASE TABLE", "SYSTEM VERSIONED"}
SEQUENCE = "a sequence, which has no rows of data"
# A versioned table's keys have this column in addition; a current row needs it not.
ROW_ENDS = """
select table_name, column_name from information_schema.columns
where table_schema = database() and generation_expression = 'ROW END'
"""

# Tables of which the user may read single columns only.
SEEN_BY_COLUMN = """
select distinct c.table_name from information_schema.column_privileges as c
inner join (
    select concat("'", substring_index(current_user(), '@', 1), "'@'",
        substring_index(current_user(), '@', -1), "'") as grantee
) as me on c.grantee = me.grantee
where
    c.table_schema = database()
    and not exists (
        select 1 from information_schema.user_privileges as u
        where u.grantee = me.grantee and u.privilege_type = 'SELECT'
    )
    and not exists (
        select 1 from information_schema.schema_privileges as s
        where
            s.grantee = me.grantee and s.privilege_type = 'SELECT'
            and database() like s.table_schema
    )
    and not exists (
        select 1 from information_schema.table_privileges as t
        where
            t.grantee = me.grantee and t.privilege_type = 'SELECT'
            and t.table_schema = c.table_schema and t.table_name = c.table_name
    )
"""


def read_tables(
    rows: Rows, wanted: Wanted, warnings: list[str], left_out: dict[str, str]
) -> list[Table]:
    """Base tables of the database, and the views that `wanted` asks for.

    Adds to `warnings`, and to `left_out` what is wanted and cannot be read. `rows` runs a query.
    """
    found = rows(
        "select table_name, table_type, engine, table_rows from information_schema.tables"
        " where table_schema = database() order by table_name"
    )
    chosen = wanted({name: _why_not(kind) for name, kind, _, _ in found})
    for name, kind, _, _ in found:
        if kind not in TABLES and name in chosen and (why := _unreadable(rows, name, kind)):
            left_out[name] = why
    columns: dict[str, list[Column]] = {}
    details: dict[str, dict[str, dict[str, Any]]] = {}
    shown_in_part = {name for (name,) in rows(SEEN_BY_COLUMN)}
    for name, position, column, details_of in _columns(rows):
        columns.setdefault(name, []).append(column)
        details.setdefault(name, {})[column.name] = details_of
        if position > len(columns[name]):
            # The catalog hides a column that the user may not read, but still counts its position.
            shown_in_part.add(name)
    versioned = any(kind == "SYSTEM VERSIONED" for _, kind, _, _ in found)
    keys = _keys(rows, columns, set(rows(ROW_ENDS)) if versioned else set())
    tables = []
    for name, table_type, engine, estimate in found:
        if name in left_out or (table_type not in TABLES and name not in chosen):
            continue
        if name in chosen and engine is not None and engine not in SNAPSHOT_ENGINES:
            warnings.append(
                f"The source table {name} has the engine {engine}, which has no snapshots: a load"
                " may see a part of the changes that are made meanwhile."
            )
        index, key = keys.get(name, ("", ()))
        tables.append(
            Table(
                name,
                name.lower(),
                tuple(columns.get(name, ())),
                key,
                estimate,
                name in shown_in_part,
                {"columns": details.get(name, {}), "key": index},
            )
        )
    return tables


def _why_not(kind: str) -> str:
    """Why a relation of a kind is left out unless somebody selects it."""
    if kind in TABLES:
        return ""
    return {"VIEW": VIEW, "SEQUENCE": SEQUENCE}.get(kind, f"of the kind {kind.lower()}")


def _unreadable(rows: Rows, name: str, kind: str) -> str | None:
    """Why a relation that is no table cannot be read, or None."""
    if kind != "VIEW":
        return _why_not(kind)
    try:
        rows(f"select 1 from {quote(name)} limit 0")
    except LoadError as error:
        found = rows(
            "select table_name, definer from information_schema.views"
            " where table_schema = database()"
        )
        said = str(error).partition(": ")[2].rstrip(".")
        definer = next(who for view, who in found if view == name)
        return f"a view of {definer} that cannot be read: {said}"
    return None


def _columns(rows: Rows) -> Iterator[tuple[str, int, Column, dict[str, Any]]]:
    found = rows(
        "select table_name, ordinal_position, column_name, data_type, column_type, is_nullable,"
        " numeric_precision, numeric_scale, character_octet_length, datetime_precision,"
        " character_maximum_length, character_set_name, collation_name"
        " from information_schema.columns where table_schema = database()"
        " order by table_name, ordinal_position"
    )
    for name, position, column, base, declared, nullable, *numbers in found:
        precision, scale, octets, fraction, length, charset, collation = numbers
        kind = type_of(base, declared, precision, scale)
        note = None
        if base == "decimal" and kind is TEXT:
            note = f"{declared} loaded as text: wider than {MAX_DECIMAL_DIGITS} digits"
        detail = {"base": base, "length": octets or 0, "fraction": fraction or 0}
        if charset:
            detail["text"] = (charset, collation)
        if base in GEOMETRIES:
            detail["length"] = 2**32 - 1
        yield (
            name,
            position,
            Column(
                column,
                column.lower(),
                declared,
                kind,
                nullable == "YES",
                note,
                length=length if kind is TEXT else None,
            ),
            detail,
        )


def _keys(
    rows: Rows, columns: dict[str, list[Column]], row_ends: set[tuple[Any, ...]]
) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Index and columns of each table's primary key, or else of its first unique key.

    A unique key with nulls or prefixes of columns does not tell rows apart.
    """
    found = rows(
        "select table_name, index_name, column_name, sub_part"
        " from information_schema.statistics where table_schema = database() and non_unique = 0"
        " order by table_name, index_name <> 'PRIMARY', index_name, seq_in_index"
    )
    never_null = {
        (table, column.name)
        for table, all_ in columns.items()
        for column in all_
        if not column.nullable
    }
    indexes: dict[str, dict[str, list[str]]] = {}
    unfit: set[tuple[str, str]] = set()
    for table, index, column, prefix in found:
        if (table, column) in row_ends:
            continue
        indexes.setdefault(table, {}).setdefault(index, []).append(column)
        if prefix is not None or (table, column) not in never_null:
            unfit.add((table, index))
    keys = {}
    for table, by_name in indexes.items():
        usable = [
            (index, tuple(names)) for index, names in by_name.items() if (table, index) not in unfit
        ]
        if usable:
            keys[table] = usable[0]
    return keys
