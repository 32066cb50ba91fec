{% macro count_rows(name, rows) -%}
    {%- call statement(name, fetch_result=true) -%}
        select count(*) as row_count {{ rows }}
    {%- endcall -%}
{%- endmacro %}

{% macro report_outcome() -%}
    {%- set changed = load_result('rows_changed') -%}
    {%- set removed = load_result('rows_removed') -%}
    {%- if changed -%}
        {%- set counts = [changed, removed] | select | map(attribute='data') | sum(start=[]) -%}
        {%- set written = counts | map('first') | sum -%}
        {%- do store_raw_result(
            'main', message=written ~ ' rows written', code='WRITTEN', rows_affected=written
        ) -%}
    {%- elif not dbt.should_full_refresh() -%}
        {#- Until it is dropped, the table that this one replaced has another name. -#}
        {%- set reasons = column_changes(load_cached_relation(make_backup_relation(this, 'table'))) -%}
        {%- if reasons -%}
            {%- set message = 'rebuilt because its columns changed: ' ~ reasons | join(', ') -%}
            {%- do store_raw_result('main', message=message, code='REBUILT', rows_affected=none) -%}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}
