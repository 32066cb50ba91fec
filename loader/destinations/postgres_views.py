"""Views that block a change of a column's type are dropped and created again.

Two blocks of PL/pgSQL do it. A loader that may drop the views itself runs the blocks directly.
Where the views belong to another role, `make roles` turns the blocks into functions that run as
that role and that the loader may call, so the loader needs no right on the views.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from ..dialects.standard import literal, quote

# Stores the definitions of all views over the variable raw_table, with owner, grants and comments,
# and drops the views. Views over views have a greater `depth`.
SET_ASIDE = """
declare
    found record;
begin
    create temporary table views_aside (depth integer, name text, again text[]) on commit drop;
    for found in
        with recursive dependents as (
            select raw_table::oid as id, 0 as depth
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
            c.oid as id, c.relkind, c.relowner, d.depth, pg_get_userbyid(c.relowner) as owner,
            format('%I.%I', n.nspname, c.relname) as name
        from (select id, max(depth) as depth from dependents where depth > 0 group by id) as d
        inner join pg_class as c on c.oid = d.id
        inner join pg_namespace as n on n.oid = c.relnamespace
        order by d.depth desc
    loop
        if found.relkind <> 'v' then
            raise exception 'a column needs a wider type, but the materialized view % depends on'
                ' it: drop that view, load, and create it again', found.name;
        elsif not pg_has_role(found.relowner, 'usage') then
            raise exception 'a column needs a wider type, but the view % of % depends on it, and is'
                ' not the loader''s to set aside: drop that view, load, and create it again',
                found.name, found.owner;
        end if;
        insert into pg_temp.views_aside
        select
            found.depth,
            found.name,
            array[
                format('create view %s as %s', found.name, pg_get_viewdef(found.id)),
                format('alter view %s owner to %I', found.name, found.owner)
            ]
            || array(
                select format(
                    'comment on %s is %L',
                    case
                        when d.objsubid = 0 then 'view ' || found.name
                        else format('column %s.%I', found.name, a.attname)
                    end,
                    d.description
                )
                from pg_description as d
                left join pg_attribute as a on a.attrelid = d.objoid and a.attnum = d.objsubid
                where d.objoid = found.id and d.classoid = 'pg_class'::regclass
            )
            || array(
                select format(
                    'grant %s%s on %s to %s',
                    g.privilege_type,
                    format(case when r.attname is not null then ' (%I)' else '' end, r.attname),
                    found.name,
                    case
                        when g.grantee = 0 then 'public'
                        else quote_ident(pg_get_userbyid(g.grantee))
                    end
                )
                from (
                    select null as attname, relacl as rights from pg_class where oid = found.id
                    union all
                    select attname, attacl from pg_attribute where attrelid = found.id
                ) as r
                cross join aclexplode(r.rights) as g
                where g.grantee <> found.relowner
            );
        execute 'drop view ' || found.name;
    end loop;
end
"""
PUT_BACK = """
declare
    step record;
begin
    -- A table of another role would hold statements of that role.
    if not exists (
        select from pg_class
        where oid = 'pg_temp.views_aside'::regclass and pg_get_userbyid(relowner) = current_user
    ) then
        raise exception 'the views were not set aside by %', current_user;
    end if;
    for step in
        select v.name, s.text as statement
        from pg_temp.views_aside as v
        cross join unnest(v.again) with ordinality as s (text, place)
        order by v.depth, v.name, s.place
    loop
        begin
            execute step.statement;
        exception when others then
            raise exception 'a column needs a wider type, which the view % cannot take (%): correct'
                ' the values at the source, or change that view', step.name, sqlerrm;
        end;
    end loop;
    drop table pg_temp.views_aside;
end
"""
# The functions, in the raw schema.
SET_ASIDE_FUNCTION, PUT_BACK_FUNCTION = "set_views_aside(regclass)", "put_views_back()"


def functions(raw_schema: str) -> dict[str, str]:
    """By signature: the statement that creates a function which runs as its owner."""
    schema = literal(quote(raw_schema))
    checked = f"""
begin
    if not exists (
        select from pg_class where oid = $1 and relnamespace = {schema}::regnamespace
    ) then
        raise exception '% is not a table in %', $1, {schema};
    end if;
    {SET_ASIDE.strip()};
end
"""
    return {
        f"{quote(raw_schema)}.{name}": (
            f"create or replace function {quote(raw_schema)}.{declared} returns void"
            " language plpgsql security definer set search_path = pg_catalog, pg_temp"
            f" as $function${body}$function$"
        )
        for name, declared, body in (
            (SET_ASIDE_FUNCTION, SET_ASIDE_FUNCTION.replace("(", "(raw_table "), checked),
            (PUT_BACK_FUNCTION, PUT_BACK_FUNCTION, PUT_BACK),
        )
    }


@contextmanager
def views_aside(connection: psycopg.Connection, raw_schema: str, table: str) -> Iterator[None]:
    """Drop the views over a table, and create them again afterwards with owner, grants, comments.

    `table` is a quoted name. Raises psycopg.Error for a view that must not be dropped: a
    materialized view, which would lose its rows, or a view of another role.
    """
    schema = quote(raw_schema)
    named = f"select to_regprocedure({literal(f'{schema}.{SET_ASIDE_FUNCTION}')}) is not null"
    ((has_functions,),) = connection.execute(named).fetchall()
    if has_functions:
        aside = f"select {schema}.set_views_aside({literal(table)}::regclass)"
        back = f"select {schema}.put_views_back()"
    else:
        aside = (
            f"do $do$ declare raw_table regclass := {literal(table)};"
            f" begin {SET_ASIDE.strip()}; end $do$"
        )
        back = f"do $do${PUT_BACK}$do$"
    connection.execute(aside)
    yield
    connection.execute(back)
