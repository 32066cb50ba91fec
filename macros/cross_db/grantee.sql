{% macro grantee(name) -%}
    {{ return(adapter.dispatch('grantee')(name)) }}
{%- endmacro %}

{% macro default__grantee(name) -%}
    {{ return(adapter.quote(name)) }}
{%- endmacro %}

{% macro redshift__grantee(name) -%}
    {{ return(('role ' if name in var('roles').values() else '') ~ adapter.quote(name)) }}
{%- endmacro %}
