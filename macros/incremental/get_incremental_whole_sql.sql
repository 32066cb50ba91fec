{% macro get_incremental_whole_sql(arg_dict) -%}
    {%- set key = arg_dict['unique_key'] -%}
    {%- set gone -%}
        from {{ arg_dict['target_relation'] }}
        where {{ key }} not in (select {{ key }} from {{ arg_dict['temp_relation'] }})
    {%- endset -%}
    {%- do count_rows('rows_removed', gone) -%}
    delete {{ gone }};

    {{ get_incremental_delete_insert_sql(arg_dict) }}
{%- endmacro %}
