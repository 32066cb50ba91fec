{#- In place of dbt's default__hash on Redshift; relies on keys being made with dbt.hash(). dbt's own casts to
`text`, as type_string does: keys of long values would be those of their start. -#}
{% macro redshift__hash(field) -%}
    md5(cast({{ field }} as {{ type_text() }}))
{%- endmacro %}
