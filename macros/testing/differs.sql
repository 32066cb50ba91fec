{% macro differs(one, other) -%}
    {{ return(adapter.dispatch('differs')(one, other)) }}
{%- endmacro %}

{% macro default__differs(one, other) -%}
    {{ one }} is distinct from {{ other }}
{%- endmacro %}

{% macro redshift__differs(one, other) -%}
    case
        when {{ one }} = {{ other }} then false
        when {{ one }} is null and {{ other }} is null then false
        else true
    end
{%- endmacro %}
