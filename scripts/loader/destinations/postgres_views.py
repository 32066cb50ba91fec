"""Views that stand in the way of a changed column type are taken away and put back."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from ..errors import LoadError
from .base import literal, quote

# Views over a relation, and views over those; the deepest last.
DEPENDENTS = """
with recursive dependents as (
    select to_regclass({table})::oid as id, 0 as depth
    union
    select r.ev_class, d.depth + 1
    from dependents as d
    inner join pg_depend as p
        on p.refobjid = d.id and p.refclassid = 'pg_class'::regclass
        and p.classid = 'pg_rewrite'::regclass
    inner join pg_rewrite as r on r.oid = p.objid
    where r.ev_class <> d.id
)
select
    c.oid, n.nspname, c.relname, c.relkind::text, pg_get_viewdef(c.oid),
    pg_get_userbyid(c.relowner), obj_description(c.oid, 'pg_class')
from (select id, max(depth) as depth from dependents where depth > 0 group by id) as d
inner join pg_class as c on c.oid = d.id
inner join pg_namespace as n on n.oid = c.relnamespace
order by d.depth
"""
GRANTS = """
select a.privilege_type, case when a.grantee = 0 then null else pg_get_userbyid(a.grantee) end
from pg_class as c cross join aclexplode(c.relacl) as a
where c.oid = {view} and a.grantee <> c.relowner
"""
COMMENTS = """
select attname, col_description(attrelid, attnum)
from pg_attribute
where attrelid = {view} and attnum > 0 and col_description(attrelid, attnum) is not null
"""


@contextmanager
def views_aside(connection: psycopg.Connection, table: str) -> Iterator[None]:
    """Drop the views over a table, and create them again afterwards with owner, grants, comments.

    `table` is a quoted name. Raises LoadError for a materialized view, which would lose its rows.
    """
    again: list[str] = []
    views: list[str] = []
    for row in connection.execute(DEPENDENTS.format(table=literal(table))).fetchall():
        oid, schema, name, kind, definition, owner, comment = row
        view = f"{quote(schema)}.{quote(name)}"
        if kind != "v":
            raise LoadError(
                f"A column of {table} needs a wider type, but the materialized view {view} depends"
                " on it: drop that view, load, and create it again."
            )
        views.append(view)
        again.append(f"create view {view} as {definition}")
        again.append(f"alter view {view} owner to {quote(owner)}")
        again.extend(_extras(connection, oid, view, comment))
    for view in reversed(views):
        connection.execute(f"drop view {view}")
    yield
    for statement in again:
        connection.execute(statement)


def _extras(
    connection: psycopg.Connection, oid: int, view: str, comment: str | None
) -> Iterator[str]:
    if comment is not None:
        yield f"comment on view {view} is {literal(comment)}"
    columns: list[tuple[Any, ...]] = connection.execute(COMMENTS.format(view=oid)).fetchall()
    for column, text in columns:
        yield f"comment on column {view}.{quote(column)} is {literal(text)}"
    for privilege, grantee in connection.execute(GRANTS.format(view=oid)).fetchall():
        yield f"grant {privilege} on {view} to {quote(grantee) if grantee else 'public'}"
