-- What Redshift's catalog has and PostgreSQL's has not, as far as dbt-redshift asks for it.
-- Run by an administrator in each database that the shim leads to.
set allow_system_table_mods = on;

create or replace function pg_catalog.version() returns text language sql stable as $$
    select 'VERSION'::text
$$;

create function pg_catalog.getdate() returns timestamp language sql stable as $$
    select date_trunc('second', statement_timestamp() at time zone 'UTC')
$$;

create function pg_catalog.sysdate() returns timestamp language sql stable as $$
    select transaction_timestamp() at time zone 'UTC'
$$;

create function pg_catalog.len(value text) returns integer language sql immutable as $$
    select char_length(value)
$$;

create function pg_catalog.strtol(digits text, base integer)
returns bigint language sql immutable as $$
    select coalesce(sum(
        (position(lower(substring(digits from n for 1)) in '0123456789abcdefghijklmnopqrstuvwxyz') - 1)
        * cast(power(cast(base as numeric), length(digits) - n) as bigint)
    ), 0)::bigint
    from generate_series(1, length(digits)) as n
$$;

create function pg_catalog.dateadd(part text, number bigint, moment timestamp)
returns timestamp language sql immutable as $$
    select moment + number * cast('1 ' || part as interval)
$$;

-- Counts the boundaries between two moments, as Redshift does.
create function pg_catalog.datediff(part text, first timestamp, second timestamp)
returns bigint language sql immutable as $$
    select cast(case lower(part)
        when 'year' then extract(year from second) - extract(year from first)
        when 'quarter' then
            (extract(year from second) - extract(year from first)) * 4
            + extract(quarter from second) - extract(quarter from first)
        when 'month' then
            (extract(year from second) - extract(year from first)) * 12
            + extract(month from second) - extract(month from first)
        when 'week' then
            (date_trunc('week', second)::date - date_trunc('week', first)::date) / 7
        else
            extract(epoch from date_trunc(part, second) - date_trunc(part, first))
            / extract(epoch from cast('1 ' || part as interval))
    end as bigint)
$$;

-- Views are not bound late here; what was created so is among the others.
create function pg_catalog.pg_get_late_binding_view_cols()
returns setof record language sql stable as $$
    select null::name, null::name, null::name, null::varchar, null::integer where false
$$;

create view pg_catalog.svv_external_columns as
select
    null::varchar as schemaname,
    null::varchar as tablename,
    null::varchar as columnname,
    null::varchar as external_type,
    null::integer as columnnum
where false;

create view pg_catalog.svv_table_info as
select
    current_database()::varchar as database,
    nspname::varchar as schema,
    pg_class.oid as table_id,
    relname::varchar as table,
    'N'::varchar as encoded,
    'AUTO(ALL)'::varchar as diststyle,
    null::varchar as sortkey1,
    0 as max_varchar,
    null::varchar as sortkey1_enc,
    0 as sortkey_num,
    null::numeric as skew_sortkey1,
    1::bigint as size,
    0::numeric as pct_used,
    0::bigint as empty,
    null::numeric as unsorted,
    null::numeric as stats_off,
    greatest(reltuples, 0)::bigint::numeric as tbl_rows,
    null::numeric as skew_rows
from pg_class
inner join pg_namespace on relnamespace = pg_namespace.oid
where relkind = 'r' and nspname not like 'pg\_%' and nspname <> 'information_schema';

create view pg_catalog.svv_redshift_columns as
select
    table_catalog::varchar as database_name,
    table_schema::varchar as schema_name,
    table_name::varchar,
    column_name::varchar,
    ordinal_position::integer,
    data_type::varchar,
    null::varchar as remarks
from information_schema.columns;

create view pg_catalog.svv_roles as
select oid::integer as role_id, rolname::varchar as role_name, null::varchar as role_owner
from pg_roles
where not rolcanlogin;

-- information_schema.columns, with Redshift's names of types.
create view pg_catalog.shim_columns as
select
    table_catalog,
    table_schema,
    table_name,
    column_name,
    ordinal_position,
    column_default,
    is_nullable,
    case data_type when 'bytea' then 'binary varying' else data_type end as data_type,
    character_maximum_length,
    numeric_precision,
    numeric_scale,
    datetime_precision
from information_schema.columns;

grant select on
    pg_catalog.shim_columns, pg_catalog.svv_external_columns, pg_catalog.svv_table_info, pg_catalog.svv_redshift_columns,
    pg_catalog.svv_roles
to public;

-- The rows of a copy as rows of its target. Types have to be those of the columns, by their places,
-- and a text may have as many bytes as the column's type says.
create function pg_catalog.shim_copied(
    target anyelement, name text, named json, types json, copied json
) returns setof anyelement language plpgsql as $$
declare
    col record;
    place integer := 0;
    -- What a list of columns leaves out is null.
    parts text[] := array(
        select format('cast(null as %s)', format_type(atttypid, atttypmod))
        from pg_attribute
        where attrelid = name::regclass and attnum > 0 and not attisdropped
        order by attnum
    );
begin
    for col in
        select
            attname, format_type(atttypid, atttypmod) as type, atttypmod - 4 as bytes, number
        from (
            select *, row_number() over (order by attnum) as number
            from pg_attribute
            where attrelid = name::regclass and attnum > 0 and not attisdropped
        ) as every
        left join lateral (
            select ordinality, value from json_array_elements_text(named) with ordinality
        ) as listed on listed.value = attname
        where json_array_length(named) = 0 or listed.value is not null
        order by coalesce(listed.ordinality, attnum)
    loop
        if place >= json_array_length(types) then exit; end if;
        if regexp_replace(col.type, '^(character varying|varbyte)\(.*', '\1') <> types ->> place then
            raise exception 'column % is of type %, and the file has %',
                col.attname, col.type, types ->> place using errcode = 'XX000';
        end if;
        if col.type like 'character varying(%' and exists (
            select from json_array_elements(copied) as r(value)
            where octet_length(r.value ->> place) > col.bytes
        ) then
            raise exception 'a value of column % is longer than % bytes', col.attname, col.bytes
                using errcode = 'XX000';
        end if;
        parts[col.number] := format('cast(r.value ->> %s as %s)', place, col.type);
        place := place + 1;
    end loop;
    if place <> json_array_length(types)
        or (json_array_length(named) > 0 and place <> json_array_length(named))
        or (json_array_length(named) = 0 and place <> (
            select count(*) from pg_attribute
            where attrelid = name::regclass and attnum > 0 and not attisdropped
        ))
    then
        raise exception 'the file has % columns, the table others', json_array_length(types)
            using errcode = 'XX000';
    end if;
    return query execute format(
        'select %s from json_array_elements($1) as r(value)', array_to_string(parts, ', ')
    ) using copied;
end
$$;

-- Bytes with a length, as a type of their own: bytea by another name.
create type pg_catalog.varbyte;
create function pg_catalog.varbyte_in(cstring) returns varbyte
language internal immutable strict as 'byteain';
create function pg_catalog.varbyte_out(varbyte) returns cstring
language internal immutable strict as 'byteaout';
create function pg_catalog.varbyte_modifier_in(cstring[]) returns integer
language internal immutable strict as 'varchartypmodin';
create function pg_catalog.varbyte_modifier_out(integer) returns cstring
language internal immutable strict as 'varchartypmodout';
create type pg_catalog.varbyte (
    input = varbyte_in, output = varbyte_out, like = bytea,
    typmod_in = varbyte_modifier_in, typmod_out = varbyte_modifier_out
);
create cast (bytea as varbyte) without function as implicit;
create cast (varbyte as bytea) without function as implicit;

create function pg_catalog.to_hex(value varbyte) returns text language sql immutable as $$
    select encode(value::bytea, 'hex')
$$;
create function pg_catalog.from_hex(digits text) returns varbyte language sql immutable as $$
    select decode(digits, 'hex')::varbyte
$$;
