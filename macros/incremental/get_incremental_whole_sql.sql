{% macro get_incremental_whole_sql(arg_dict) -%}
    {%- set target, calculated = arg_dict['target_relation'], arg_dict['temp_relation'] -%}
    {%- set key = key_columns(arg_dict, bare=true) -%}
    {%- set meta = config.get('meta', {}) -%}
    {%- set entity, limit = meta.get('history_of'), meta.get('limited_to') -%}
    {%- set condition -%}
        {#- PostgreSQL goes through all keys for each row where it cannot keep those of `not in` in memory. #}
        {{ key_columns(arg_dict) }} in (select {{ key }} from {{ target }} except select {{ key }} from {{ calculated }})
        {%- if entity and built_through() %}
        and {{ entity }} in (select {{ entity }} from {{ calculated }})
        {%- endif -%}
        {%- if limit and is_limited() %}
        and {{ limit['column'] }} in ({{ changed_keys(limit['column'], limit['changed_in']) }})
        {%- endif -%}
        {%- if meta.get('goes_on') and built_through() %}
        and 1 = 0
        {%- endif -%}
    {%- endset -%}
    {{ remove_rows(arg_dict, condition) }}
    {{ write_changed_rows(arg_dict, condition) }}
{%- endmacro %}
