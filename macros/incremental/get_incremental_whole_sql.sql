{% macro get_incremental_whole_sql(arg_dict) -%}
    {%- set condition -%}
        {{ key_columns(arg_dict) }} not in (
            select {{ key_columns(arg_dict, bare=true) }} from {{ arg_dict['temp_relation'] }}
        )
    {%- endset -%}
    {{ remove_rows(arg_dict, condition) }}
    {{ write_changed_rows(arg_dict) }}
{%- endmacro %}
