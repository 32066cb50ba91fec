{% macro should_full_refresh() -%}
    {%- set asked_for = config.get('full_refresh') -%}
    {%- set asked_for = flags.FULL_REFRESH if asked_for is none else asked_for -%}
    {{ return(asked_for or has_other_columns()) }}
{%- endmacro %}

{% macro has_other_columns() -%}
    {%- if not execute or config.get('materialized') != 'incremental' -%}
        {{ return(false) }}
    {%- endif -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- if existing is none or not existing.is_table -%}
        {{ return(false) }}
    {%- endif -%}
    {#- The way in which dbt compares a model with its contract. -#}
    {%- set held = get_column_schema_from_query('select * from ' ~ existing) -%}
    {%- set agreed = get_column_schema_from_query(get_empty_schema_sql(model.columns)) -%}
    {{ return(format_columns(held) != format_columns(agreed)) }}
{%- endmacro %}
