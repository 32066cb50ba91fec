{% macro contract_columns() -%}
    {{ return(model.columns.values() | list) }}
{%- endmacro %}
