{#- One hook for all that a run begins with, and one for its end: dbt takes longer for a hook than for what it does. -#}
{% macro begin_run() -%}
    {%- set beside = tables_beside() -%}
    {{ statements([
        forget_green_build(beside), forget_changes(beside), recall_changes(beside), make_compared_loads()
    ]) }}
{%- endmacro %}

{% macro end_run() -%}
    {%- set beside = tables_beside() -%}
    {{ statements([log_changes(beside), forget_changes(beside, is_end=true), sign_for_watch(beside)]) }}
{%- endmacro %}

{% macro statements(parts) -%}
    {%- for part in parts | map('trim') if part -%}
{{ part.rstrip(';') }};
    {% endfor -%}
{%- endmacro %}

{#- The record of green builds and what runs keep of their changes. Not from what dbt knows without asking: on
PostgreSQL it takes a schema for known when it has met one view of it. -#}
{% macro tables_beside() -%}
    {%- set writes = flags.WHICH in ['build', 'run', 'seed', 'snapshot', 'retry', 'clone'] or following() -%}
    {%- if not execute or not writes -%}
        {{ return([]) }}
    {%- endif -%}
    {%- set query -%}
        select table_name from information_schema.tables
        where
            table_schema = '{{ generate_schema_name('intermediate', none) }}'
            and (table_name = 'last_green_build' or table_name like '%_changes%')
    {%- endset -%}
    {{ return(run_query(query).rows | map('first') | list) }}
{%- endmacro %}
