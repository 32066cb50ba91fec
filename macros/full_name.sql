{% macro full_name(first_name, last_name) -%}
    cast(
        nullif(trim(coalesce({{ first_name }}, '') || ' ' || coalesce({{ last_name }}, '')), '')
        as {{ type_text() }}
    )
{%- endmacro %}
