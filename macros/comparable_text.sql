{% macro comparable_text(column) -%}
    coalesce(nullif(translate(lower({{ column }}), ' .,-()&/''', ''), ''), {{ column }})
{%- endmacro %}
