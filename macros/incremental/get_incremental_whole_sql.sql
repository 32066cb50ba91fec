{% macro get_incremental_whole_sql(arg_dict) -%}
    {%- set calculated = 'select ' ~ key_columns(arg_dict, bare=true) ~ ' from ' ~ arg_dict['temp_relation'] -%}
    {{ remove_rows(arg_dict, key_columns(arg_dict) ~ ' not in (' ~ calculated ~ ')') }}
    {{ write_changed_rows(arg_dict) }}
{%- endmacro %}
