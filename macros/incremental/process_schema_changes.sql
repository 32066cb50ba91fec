{#- Adds to dbt's process_schema_changes; relies on incremental models asking it for the columns to write, after
should_full_refresh(), which has compared those of the table with the contract: dbt would do so again. -#}
{% macro default__process_schema_changes(on_schema_change, source_relation, target_relation) -%}
    {%- if config.get('contract').enforced -%}
        {{ return(model.columns.values() | list) }}
    {%- endif -%}
    {{ return(dbt.default__process_schema_changes(on_schema_change, source_relation, target_relation)) }}
{%- endmacro %}
