"""What a PostgreSQL schema has, and what of it is loaded."""

from collections.abc import Collection

import psycopg

from ..errors import LoadError
from ..urls import SourceUrl
from .base import VIEW, Source, Wanted
from .postgres_session import refuse_settings_of_the_role

# The schema's relations, whether a policy hides rows of them from the user, and whether they have
# columns. Not those that are read with another one: partitions, and the sequence of a column.
RELATIONS = """
select
    c.relname, c.relkind::text, row_security_active(c.oid),
    exists (
        select 1 from pg_attribute as a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    )
from pg_class as c
inner join pg_namespace as n on c.relnamespace = n.oid
where
    n.nspname = %s and c.relkind in ('r', 'p', 'f', 'v', 'm', 'S')
    and not (
        c.relispartition and exists (
            select 1 from pg_inherits as i
            inner join pg_class as p on i.inhparent = p.oid
            where i.inhrelid = c.oid and p.relnamespace = c.relnamespace
        )
    )
    and not (
        c.relkind = 'S' and exists (
            select 1 from pg_depend as d
            where
                d.classid = 'pg_class'::regclass and d.objid = c.oid
                and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i')
        )
    )
order by c.relname
"""
# Why a relation of a kind is left out unless somebody selects it.
WHY_NOT = {
    "v": VIEW,
    "m": "a materialized view: name it in --select to load it",
    "f": "a foreign table: name it in --select to load it",
    "S": "a sequence, which has no rows of data",
}
# Children of the schema's tables by `inherits`, and where they are.
CHILDREN = """
select p.relname, m.nspname, c.relname
from pg_inherits as i
inner join pg_class as p on i.inhparent = p.oid
inner join pg_class as c on i.inhrelid = c.oid
inner join pg_namespace as n on p.relnamespace = n.oid
inner join pg_namespace as m on c.relnamespace = m.oid
where n.nspname = %s and p.relkind in ('r', 'f') and not c.relispartition
order by p.relname, m.nspname, c.relname
"""

# Columns of a type whose values depend on a setting.
MONEY = """
select 1 from pg_class as c
inner join pg_namespace as n on c.relnamespace = n.oid
inner join pg_attribute as a on c.oid = a.attrelid and a.attnum > 0 and not a.attisdropped
where n.nspname = %s and c.relname = any(%s) and a.atttypid = 'money'::regtype
"""


def chosen_relations(
    connection: psycopg.Connection, url: SourceUrl, schema: str, wanted: Wanted, source: Source
) -> dict[str, str]:
    """The kind of each table, and of each other relation that is wanted.

    Adds to the source's `warnings` and `left_out`. Raises LoadError where the user would see only a
    part of what is wanted.
    """
    found = connection.execute(RELATIONS, [schema]).fetchall()
    chosen = wanted({name: WHY_NOT.get(kind, "") for name, kind, _, _ in found})
    kinds, hidden = {}, []
    for name, kind, hides_rows, has_columns in found:
        if name in chosen and (kind == "S" or not has_columns):
            source.left_out[name] = WHY_NOT.get(kind, "a table without columns")
        elif name in chosen or kind not in WHY_NOT:
            kinds[name] = kind
            if hides_rows and name in chosen:
                hidden.append(name)
    if hidden:
        raise LoadError(
            f"PostgreSQL source: policies hide rows of {', '.join(hidden)} from {url.user}:"
            f" let it read all rows (alter role {url.user} bypassrls), or leave them out with"
            " --exclude."
        )
    _name_children(connection, schema, chosen, source)
    names = [name for name in kinds if name in chosen]
    depends = set()
    if connection.execute(MONEY, [schema, names]).fetchone():
        depends = {"lc_monetary"}
    if any(kinds[name] in "vm" for name in names):
        depends = {"lc_monetary", "lc_numeric", "lc_time", "default_text_search_config"}
    refuse_settings_of_the_role(connection, depends, url.user)
    return kinds


def _name_children(
    connection: psycopg.Connection, schema: str, chosen: Collection[str], source: Source
) -> None:
    """Say where the rows of children are: every row of a parent is read once."""
    children: dict[str, list[str]] = {}
    for parent, other_schema, child in connection.execute(CHILDREN, [schema]):
        if parent not in chosen:
            continue
        if other_schema == schema:
            children.setdefault(parent, []).append(child)
        else:
            source.left_out[f"{other_schema}.{child}"] = (
                f"a table of another schema that inherits from {parent}: load that schema too"
            )
    source.warnings.extend(
        f"Tables inherit from {parent}: it is loaded with its own rows only; those of"
        f" {', '.join(names)} are loaded as tables of their own."
        for parent, names in children.items()
    )
