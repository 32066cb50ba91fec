{#- One row: through which load the marts of this code were tested and found green. -#}
{% macro tested_marts() -%}
    {{ return(api.Relation.create(
        database=target.database, schema=generate_schema_name('intermediate', none),
        identifier='tested_marts'
    )) }}
{%- endmacro %}

{% macro keep_what_was_tested(results) -%}
    {%- if execute and flags.WHICH in ['build', 'run', 'seed', 'snapshot', 'retry'] -%}
        {%- set marks = tested_marts() -%}
        {%- set code = env_var('TESTED_CODE', '') -%}
        {%- set failed = results | rejectattr('status', 'in', ['success', 'pass', 'warn', 'no-op']) -%}
        {%- set is_green = flags.WHICH == 'build' and code and not failed | list -%}
        {%- if is_green -%}
            create table if not exists {{ marks }} (code varchar(64), loaded_through varchar(26));
        {%- endif -%}
        {%- if is_green or adapter.get_relation(marks.database, marks.schema, marks.identifier) -%}
            delete from {{ marks }};
        {%- endif -%}
        {%- if is_green -%}
            insert into {{ marks }} values ('{{ code }}', '{{ env_var('LOADED_THROUGH') }}');
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}
