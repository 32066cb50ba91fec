{% macro index_on(columns) -%}
    {{ return(adapter.dispatch('index_on')(columns)) }}
{%- endmacro %}

{% macro default__index_on(columns) -%}
    {{ return([]) }}
{%- endmacro %}

{% macro postgres__index_on(columns) -%}
    {%- set indexes = [] -%}
    {%- for column in columns -%}
        {%- do indexes.append({'columns': [column] if column is string else column}) -%}
    {%- endfor -%}
    {{ return(indexes) }}
{%- endmacro %}

{% macro redshift__index_on(columns) -%}
    {{ return([]) }}
{%- endmacro %}
