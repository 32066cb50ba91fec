{% macro without_jit() -%}
    {{ return(adapter.dispatch('without_jit')()) }}
{%- endmacro %}

{% macro default__without_jit() -%}
{%- endmacro %}

{% macro postgres__without_jit() -%}
    set local jit = off
{%- endmacro %}

{% macro redshift__without_jit() -%}
{%- endmacro %}
