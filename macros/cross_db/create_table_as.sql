{#- In place of dbt's postgres__create_table_as; relies on tables of a contract being made by it alone.
dbt's own fills an empty table with `insert`, for which PostgreSQL never makes a parallel plan. -#}
{% macro postgres__create_table_as(temporary, relation, sql) -%}
    {#- Else PostgreSQL plans what reads it next, such as its tests, without knowing its rows. -#}
    {%- set analyze = '' if temporary else 'analyze ' ~ relation -%}
    {%- if temporary or not config.get('contract').enforced -%}
        {{ return(dbt.postgres__create_table_as(temporary, relation, sql) ~ analyze) }}
    {%- endif -%}
    {{ get_assert_columns_equivalent(sql) }}
    {#- An empty table as dbt makes it shows PostgreSQL's names of the types and constraints. -#}
    {%- set shape = make_intermediate_relation(relation, '__contract') -%}
    {{ config.get('sql_header') or '' }}
    drop table if exists {{ shape }};
    create table {{ shape }} {{ get_table_columns_and_constraints() }};

    create {{ 'unlogged' if config.get('unlogged') }} table {{ relation }} as (
        {{ get_select_subquery(sql) }}
    );

    {#- `alter` converts as `insert` does: text that is too long is an error, where a cast cuts it. -#}
    do $contract$
    declare
        differences text;
    begin
        select string_agg(difference, ', ') into differences
        from (
            select format('alter column %I type %s', wanted.attname, types.name) as difference
            from pg_attribute as wanted
            inner join pg_attribute as made
                on
                    made.attrelid = to_regclass('{{ relation }}')
                    and made.attname = wanted.attname
            cross join lateral format_type(wanted.atttypid, wanted.atttypmod) as types (name)
            where
                wanted.attrelid = to_regclass('{{ shape }}')
                and wanted.attnum > 0
                and types.name <> format_type(made.atttypid, made.atttypmod)
            union all
            select format('alter column %I set not null', attname)
            from pg_attribute
            where attrelid = to_regclass('{{ shape }}') and attnum > 0 and attnotnull
            union all
            select format('add %s %s', 'constraint ' || named.name, pg_get_constraintdef(oid))
            from pg_constraint
            cross join lateral (
                select case when conname not like '%\_\_contract%' then quote_ident(conname) end
            ) as named (name)
            where conrelid = to_regclass('{{ shape }}') and contype <> 'n'
        ) as found;
        drop table {{ shape }};
        if differences is not null then
            execute 'alter table {{ relation }} ' || differences;
        end if;
    end
    $contract$;
    {{ analyze }}
{%- endmacro %}

{#- dbt's own, which otherwise the one above would hide. -#}
{% macro redshift__create_table_as(temporary, relation, sql) -%}
    {{ return(dbt.redshift__create_table_as(temporary, relation, sql)) }}
{%- endmacro %}
