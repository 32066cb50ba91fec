{% macro version_day(column) -%}
    coalesce({{ column }}, cast('9999-12-30' as date))
{%- endmacro %}

{% macro is_valid(versions, day) -%}
    {{ versions }}.valid_from <= {{ day }} and {{ day }} < {{ versions }}.valid_to
{%- endmacro %}
