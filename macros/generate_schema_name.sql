{#- dbt's own rule puts the target schema before every folder's schema (main_marts). Where the target is
    the database's default schema, that prefix says nothing: analysts read marts.fact_orders. Any other
    target schema is somebody's sandbox, and keeps the prefix, so that two people never overwrite each
    other's tables. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- if custom_schema_name is none -%}
        {{ target.schema }}
    {%- elif target.schema in ['main', 'public'] -%}
        {{ custom_schema_name | trim }}
    {%- else -%}
        {{ target.schema }}_{{ custom_schema_name | trim }}
    {%- endif -%}
{%- endmacro %}
