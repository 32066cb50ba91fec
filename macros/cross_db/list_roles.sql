{% macro list_roles(names) -%}
    {{ return(adapter.dispatch('list_roles')(names)) }}
{%- endmacro %}

{% macro default__list_roles(names) -%}
    {{ return([]) }}
{%- endmacro %}

{% macro postgres__list_roles(names) -%}
    {%- set found = run_query(
        "select rolname from pg_roles where rolname in ('" ~ names | join("', '") ~ "')"
    ) -%}
    {{ return(found.columns[0].values() | list) }}
{%- endmacro %}

{% macro redshift__list_roles(names) -%}
    {%- set found = run_query(
        "select role_name from svv_roles where role_name in ('" ~ names | join("', '") ~ "')"
    ) -%}
    {{ return(found.columns[0].values() | list) }}
{%- endmacro %}
