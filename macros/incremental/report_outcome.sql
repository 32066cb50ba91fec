{% macro count_rows(name, rows) -%}
    {%- call statement(name, fetch_result=true) -%}
        select count(*) as row_count {{ rows }}
    {%- endcall -%}
{%- endmacro %}

{% macro report_outcome() -%}
    {%- set changed = kept_result('rows_changed') -%}
    {%- set removed = load_result('rows_removed') -%}
    {%- if changed -%}
        {%- set counts = [changed, removed] | select | map(attribute='data') | sum(start=[]) -%}
        {%- set written = counts | map('first') | sum -%}
        {%- do store_raw_result(
            'main', message=written ~ ' rows written', code='WRITTEN', rows_affected=written
        ) -%}
    {%- elif not dbt.should_full_refresh() and has_other_columns() -%}
        {%- set message = 'rebuilt because its columns changed: ' ~ known_column_changes() -%}
        {%- do store_raw_result('main', message=message, code='REBUILT', rows_affected=none) -%}
    {%- endif -%}
{%- endmacro %}
