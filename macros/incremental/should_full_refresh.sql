{#- Adds to dbt's should_full_refresh; relies on incremental models asking it, also in is_incremental(). -#}
{% macro should_full_refresh() -%}
    {{ return(dbt.should_full_refresh() or has_other_columns()) }}
{%- endmacro %}

{% macro has_other_columns() -%}
    {%- if not execute or config.get('materialized') != 'incremental' -%}
        {{ return(false) }}
    {%- endif -%}
    {{ return(known_column_changes() != '') }}
{%- endmacro %}

{#- Compared once: dbt asks should_full_refresh() at three places, and report_outcome() after them. -#}
{% macro known_column_changes() -%}
    {%- if not kept_result('column_changes') -%}
        {%- set changes = column_changes(load_cached_relation(this)) | join(', ') -%}
        {%- do store_raw_result('column_changes', message=changes, code='COMPARED', rows_affected=none) -%}
    {%- endif -%}
    {{ return(kept_result('column_changes').response | string) }}
{%- endmacro %}

{% macro column_changes(existing) -%}
    {%- if existing is none or not existing.is_table -%}
        {{ return([]) }}
    {%- endif -%}
    {#- The way in which dbt compares a model with its contract. -#}
    {%- set before, now = {}, {} -%}
    {%- for column in get_column_schema_from_query('select * from ' ~ existing) -%}
        {%- do before.update({column.name | lower: column.dtype}) -%}
    {%- endfor -%}
    {%- for column in get_column_schema_from_query(get_empty_schema_sql(model.columns)) -%}
        {%- do now.update({column.name | lower: column.dtype}) -%}
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
