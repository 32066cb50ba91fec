{% macro date_key(column) -%}
    cast(coalesce(
        extract(year from {{ column }}) * 10000
        + extract(month from {{ column }}) * 100
        + extract(day from {{ column }}),
        -1
    ) as integer)
{%- endmacro %}
