{#- Adds to dbt's should_full_refresh; relies on incremental models asking it, also in is_incremental(). -#}
{% macro should_full_refresh() -%}
    {{ return(dbt.should_full_refresh() or has_other_columns()) }}
{%- endmacro %}

{% macro has_other_columns() -%}
    {%- if not execute or config.get('materialized') != 'incremental' -%}
        {{ return(false) }}
    {%- endif -%}
    {{ return(column_changes(load_cached_relation(this)) != []) }}
{%- endmacro %}

{% macro column_changes(existing) -%}
    {%- if existing is none or not existing.is_table -%}
        {{ return([]) }}
    {%- endif -%}
    {#- The way in which dbt compares a model with its contract. -#}
    {%- set before, now = {}, {} -%}
    {%- for column in format_columns(get_column_schema_from_query('select * from ' ~ existing)) -%}
        {%- do before.update({column['name'] | lower: column['data_type']}) -%}
    {%- endfor -%}
    {%- set contract = get_column_schema_from_query(get_empty_schema_sql(model.columns)) -%}
    {%- for column in format_columns(contract) -%}
        {%- do now.update({column['name'] | lower: column['data_type']}) -%}
    {%- endfor -%}
    {%- set changes = [] -%}
    {%- for name, data_type in now.items() -%}
        {%- if name not in before -%}
            {%- do changes.append('new column ' ~ name) -%}
        {%- elif before[name] != data_type -%}
            {%- do changes.append(name ~ ' is ' ~ data_type ~ ', was ' ~ before[name]) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- for name in before if name not in now -%}
        {%- do changes.append('no column ' ~ name ~ ' any more') -%}
    {%- endfor -%}
    {%- if not changes and before.keys() | list != now.keys() | list -%}
        {%- do changes.append('another order of columns') -%}
    {%- endif -%}
    {{ return(changes) }}
{%- endmacro %}
