{% macro differs(one, other) -%}
    case
        when {{ one }} = {{ other }} then false
        when {{ one }} is null and {{ other }} is null then false
        else true
    end
{%- endmacro %}
