"""Tables and views of PostgreSQL with all that belongs to them, and how to give it to others."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from pipeline.project import project_settings

RELATIONS = """
select
    n.nspname,
    c.relname,
    c.oid,
    c.relkind <> 'v',
    array(
        select cast(attname as text)
        from pg_attribute
        where attrelid = c.oid and attnum > 0 and not attisdropped
        order by attnum
    ),
    array(
        select format('%%s %%s', format_type(atttypid, atttypmod), attnotnull)
        from pg_attribute
        where attrelid = c.oid and attnum > 0 and not attisdropped
        order by attnum
    ) || array(
        select pg_get_constraintdef(oid)
        from pg_constraint
        where conrelid = c.oid and contype <> 'n'
        order by 1
    ),
    array(
        select replace(
            pg_get_indexdef(i.indexrelid),
            format('INDEX %%I ON %%I.%%I', ic.relname, n.nspname, c.relname),
            'INDEX ON'
        )
        from pg_index as i
        inner join pg_class as ic on ic.oid = i.indexrelid
        where
            i.indrelid = c.oid
            and not exists (select from pg_constraint where conindid = i.indexrelid)
    ),
    array(
        select array[cast(a.attname as text), d.description]
        from pg_description as d
        left join pg_attribute as a on a.attrelid = d.objoid and a.attnum = nullif(d.objsubid, 0)
        where d.objoid = c.oid and d.classoid = 'pg_class'::regclass
    ),
    array(
        select array[
            cast(r.attname as text),
            coalesce(cast(pg_get_userbyid(nullif(g.grantee, 0)) as text), ''),
            g.privilege_type
        ]
        from (
            select cast(null as name) as attname, c.relacl as rights
            union all
            select attname, attacl from pg_attribute where attrelid = c.oid and not attisdropped
        ) as r
        cross join aclexplode(r.rights) as g
        where g.grantee <> c.relowner
    ),
    array(
        select encode(t.tgargs, 'escape')
        from pg_trigger as t
        inner join pg_proc as p on t.tgfoid = p.oid
        where t.tgrelid = c.oid and t.tgname like 'note\\_%%' and p.proname = 'note_keys'
    ),
    array(
        select cast(xmin as text)
        from pg_rewrite
        where ev_class = c.oid and c.relkind = 'v'
    )
from pg_class as c
inner join pg_namespace as n on c.relnamespace = n.oid
where n.nspname = any(%s) and c.relname = any(%s) and c.relkind in ('r', 'p', 'v', 'm')
"""
# What its owner lets others do with each new table in the schema of a relation.
DEFAULTS = """
select coalesce(pg_get_userbyid(nullif(g.grantee, 0)), ''), g.privilege_type
from pg_default_acl as d
inner join pg_class as c on c.relnamespace = d.defaclnamespace and c.relowner = d.defaclrole
cross join aclexplode(d.defaclacl) as g
where c.oid = %s and d.defaclobjtype = 'r' and d.defaclrole <> g.grantee
"""
# The deepest last: each after what it reads.
VIEWS_OVER = """
with recursive dependents as (
    select cast(%s as oid) as id, 0 as depth
    union
    select r.ev_class, d.depth + 1
    from dependents as d
    inner join pg_depend as p
        on p.refobjid = d.id
        and p.refclassid = 'pg_class'::regclass
        and p.classid = 'pg_rewrite'::regclass
    inner join pg_rewrite as r on r.oid = p.objid
    where r.ev_class <> d.id
)

select n.nspname, c.relname, pg_get_userbyid(c.relowner)
from (select id, max(depth) as depth from dependents group by id) as d
inner join pg_class as c on c.oid = d.id
inner join pg_namespace as n on n.oid = c.relnamespace
where c.relkind = 'v'
order by d.depth
"""


# Column or None, role (empty: everybody), privilege.
Right = tuple[str | None, str, str]


@dataclass(frozen=True)
class Name:
    """The name of a relation with its schema."""

    schema: str
    relation: str

    @property
    def sql(self) -> sql.Identifier:
        """As SQL."""
        return sql.Identifier(self.schema, self.relation)

    def __str__(self) -> str:
        return f"{self.schema}.{self.relation}"


@dataclass(frozen=True)
class Found:
    """A table or view as it is now.

    `types` are those of its columns, and its constraints. `triggers` are the arguments of
    those that note the keys of written rows. `rules` are others once a view has another query.
    """

    name: Name
    id: int
    is_table: bool
    columns: Sequence[str]
    types: Sequence[str]
    indexes: Sequence[str]
    comments: Collection[tuple[str | None, str]]
    rights: Collection[Right]
    triggers: Sequence[str]
    rules: Sequence[str]

    @property
    def shape(self) -> tuple[Sequence[str], Sequence[str]]:
        """What two tables have in common whose rows can be exchanged."""
        return self.columns, self.types


def listed(columns: Sequence[str]) -> sql.Composed:
    """Columns, separated by commas."""
    return sql.SQL(", ").join(map(sql.Identifier, columns))


class Catalog:
    """What one transaction sees of the catalog, and changes in it."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._aside: list[tuple[Found, str, str]] = []
        self._roles = {*map(str, project_settings()["vars"]["roles"].values()), ""}

    def run(self, statement: str, *parts: Name | sql.Composable) -> int:
        """Run a statement whose gaps are filled in; returns how many rows it wrote."""
        filled = [part.sql if isinstance(part, Name) else part for part in parts]
        return self._connection.execute(sql.SQL(statement).format(*filled)).rowcount

    def ask(self, query: str, *parts: Name | sql.Composable) -> list[tuple[Any, ...]]:
        """The rows of a query whose gaps are filled in."""
        filled = [part.sql if isinstance(part, Name) else part for part in parts]
        return self._connection.execute(sql.SQL(query).format(*filled)).fetchall()

    def text(self, part: sql.Composable) -> str:
        """A part of a statement as text."""
        return part.as_string(self._connection)

    def count(self, found: Found) -> int:
        """How many rows a table has."""
        return int(self.ask("select count(*) from {}", found.name)[0][0])

    def relations(self, schemas: Sequence[str], names: Sequence[str]) -> list[Found]:
        """The tables and views of these names in these schemas."""
        rows = self._connection.execute(RELATIONS, (list(schemas), list(names))).fetchall()
        return [_found(*row) for row in rows]

    def make_schema(self, schema: str) -> None:
        """Create a schema unless it is there: who may not create one may use one."""
        if not self._connection.execute(
            "select from pg_namespace where nspname = %s", (schema,)
        ).fetchall():
            self.run("create schema {}", sql.Identifier(schema))

    def drop(self, found: Found | None) -> None:
        """Drop a table or view. Views go, with those over them, until `put_back`."""
        if not found:
            return
        for schema, name, owner in self._connection.execute(VIEWS_OVER, (found.id,)).fetchall():
            for view in self.relations([schema], [name]):
                self._aside.append((view, self.definition(view, ["pg_catalog"]), owner))
        kind = sql.SQL("table" if found.is_table else "view")
        self.run("drop {} if exists {} cascade", kind, found.name)

    def put_back(self) -> list[Name]:
        """Make views again that went with what they read; returns those that cannot be made.

        One that is there again, with another definition, gets the rights that others had.
        """
        lost = []
        for view, definition, owner in self._aside:
            if again := self.relations([view.name.schema], [view.name.relation]):
                self.keep_rights(view, again[0])
                continue
            try:
                with self._connection.transaction():
                    self.run("create view {} as {}", view.name, sql.SQL(definition))
                    self.run("alter view {} owner to {}", view.name, sql.Identifier(owner))
                    (made,) = self.relations([view.name.schema], [view.name.relation])
                    self.copy_details(view, made)
            except psycopg.Error:
                lost.append(view.name)
        return lost

    # -- views -------------------------------------------------------------------------------------

    def definition(self, view: Found, path: Sequence[str]) -> str:
        """The query of a view, in which relations of these schemas have no schema."""
        self.run("set local search_path to {}", listed(path))
        rows = self._connection.execute("select pg_get_viewdef(%s)", (view.id,)).fetchall()
        self.run("reset search_path")
        return str(rows[0][0])

    def make_view(self, name: Name, definition: str, path: Sequence[str]) -> None:
        """Make a view, or change it in place where PostgreSQL can."""
        view = sql.SQL("view {} as {}").format(name.sql, sql.SQL(definition))
        try:
            with self._connection.transaction():
                self.run("set local search_path to {}", listed(path))
                self.run("create or replace {}", view)
        except psycopg.errors.InvalidTableDefinition:
            # A view can only get more columns at its end.
            for found in self.relations([name.schema], [name.relation]):
                self.drop(found)
            self.run("set local search_path to {}", listed(path))
            self.run("create {}", view)
        self.run("reset search_path")

    # -- what belongs to a relation ----------------------------------------------------------------

    def copy_details(self, source: Found, target: Found) -> None:
        """Give a relation the comments, rights and indexes of another of the same columns."""
        kind = sql.SQL("table" if target.is_table else "view")
        for column, text in set(source.comments) - set(target.comments):
            place = sql.SQL("{} {}").format(kind, target.name.sql)
            if column:
                place = sql.SQL("column {}.{}").format(target.name.sql, sql.Identifier(column))
            self.run("comment on {} is {}", place, sql.Literal(text))
        for index in set(source.indexes) - set(target.indexes):
            start, _, rest = index.partition("INDEX ON")
            self.run(f"{start.replace('{', '')}index on {{}} {{}}", target.name, sql.SQL(rest))
        # Rights that somebody gave to others stay.
        ours = self._roles | {role for _, role, _ in source.rights}
        given = {right for right in target.rights if right[1] in ours}
        if given != set(source.rights):
            for role in {role for _, role, _ in given}:
                self.run("revoke all privileges on {} from {}", target.name, _role(role))
            self._grant(target, source.rights)

    def keep_rights(self, old: Found | None, new: Found) -> None:
        """Let others have the rights that they have on the old table, or on each new one."""
        found = self._connection.execute(DEFAULTS, (new.id,)).fetchall()
        rights: set[Right] = {(None, role, privilege) for role, privilege in found}
        rights |= (
            {right for right in old.rights if right[0] in (None, *new.columns)} if old else set()
        )
        self._grant(new, [right for right in rights if right[1] not in self._roles])

    def _grant(self, found: Found, rights: Collection[Right]) -> None:
        for column, role, privilege in rights:
            what: sql.Composable = sql.SQL(privilege)
            if column:
                what = sql.SQL("{} ({})").format(what, sql.Identifier(column))
            self.run("grant {} on {} to {}", what, found.name, _role(role))


def _found(schema: str, name: str, oid: int, *rest: Any) -> Found:
    is_table, columns, types, indexes, comments, rights, triggers, rules = rest
    return Found(
        *(Name(schema, name), oid, is_table, columns, types, indexes),
        *(frozenset(map(tuple, comments)), frozenset(map(tuple, rights)), triggers, rules),
    )


def _role(name: str) -> sql.Composable:
    return sql.Identifier(name) if name else sql.SQL("public")
