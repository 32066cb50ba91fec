{#- First and last name with one space between; whichever exists when the other does not. -#}
{% macro full_name(first_name, last_name) -%}
    cast(
        nullif(trim(coalesce({{ first_name }}, '') || ' ' || coalesce({{ last_name }}, '')), '')
        as {{ type_text() }}
    )
{%- endmacro %}
