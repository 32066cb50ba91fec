{#- DuckDB finds the first few of each group without sorting all of it, but only by one expression. -#}
{% macro in_order_of(columns) -%}
    {{ return(adapter.dispatch('in_order_of')(columns)) }}
{%- endmacro %}

{% macro default__in_order_of(columns) -%}
    {{ columns | join(', ') }}
{%- endmacro %}

{% macro duckdb__in_order_of(columns) -%}
    row({{ columns | join(', ') }})
{%- endmacro %}
