{% macro get_incremental_whole_sql(arg_dict) -%}
    {%- set calculated = arg_dict['temp_relation'] -%}
    {%- set entity = config.get('meta', {}).get('history_of') -%}
    {%- set limit = config.get('meta', {}).get('limited_to') -%}
    {%- set condition -%}
        {{ key_columns(arg_dict) }} not in (select {{ key_columns(arg_dict, bare=true) }} from {{ calculated }})
        {%- if entity and built_through() %}
        and {{ entity }} in (select {{ entity }} from {{ calculated }})
        {%- endif -%}
        {%- if limit and is_limited() %}
        and {{ limit['column'] }} in ({{ changed_keys(limit['column'], limit['changed_in']) }})
        {%- endif -%}
    {%- endset -%}
    {{ remove_rows(arg_dict, condition) }}
    {{ write_changed_rows(arg_dict, condition) }}
{%- endmacro %}
