{% macro vacuum_when_made() -%}
    {{ return(adapter.dispatch('vacuum_when_made')()) }}
{%- endmacro %}

{% macro default__vacuum_when_made() -%}
    {{ return([]) }}
{%- endmacro %}

{% macro postgres__vacuum_when_made() -%}
    {#- Only a new table has counted no changes. PostgreSQL allows no vacuum within a transaction. -#}
    {{ return([{
        'sql': "{{ 'vacuum ' ~ this if not kept_result('rows_changed') }}",
        'transaction': false
    }]) }}
{%- endmacro %}

{% macro redshift__vacuum_when_made() -%}
    {{ return([]) }}
{%- endmacro %}
