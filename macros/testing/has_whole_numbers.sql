{#- Whether columns of a raw table are whole numbers there, so that a cast makes no two of them equal. -#}
{% macro has_whole_numbers(relation, columns) -%}
    {%- set found = [] -%}
    {%- for column in adapter.get_columns_in_relation(relation) if column.is_integer() -%}
        {%- do found.append(column.name | lower) -%}
    {%- endfor -%}
    {{ return(columns | reject('in', found) | list | length == 0) }}
{%- endmacro %}
