{% macro roles_query(names) -%}
    {{ return(adapter.dispatch('roles_query')(names)) }}
{%- endmacro %}

{% macro default__roles_query(names) -%}
{%- endmacro %}

{% macro postgres__roles_query(names) -%}
    select rolname from pg_roles where rolname in ('{{ names | join("', '") }}')
{%- endmacro %}

{% macro redshift__roles_query(names) -%}
    select role_name from svv_roles where role_name in ('{{ names | join("', '") }}')
{%- endmacro %}
