{% macro clean_text(column) -%}
    {%- set blanks = ' \t\n\x0b\x0c\r\u00a0\u202f\u200b\u3000\ufeff' -%}
    cast(nullif(trim(both '{{ blanks }}' from {{ column }}), '') as {{ type_text() }})
{%- endmacro %}
