{% macro get_incremental_whole_sql(arg_dict) -%}
    {%- set calculated, key = arg_dict['temp_relation'], key_columns(arg_dict, bare=true) -%}
    {%- set meta = config.get('meta', {}) -%}
    {%- set entity, limit = meta.get('history_of'), meta.get('limited_to') -%}
    {%- set without = meta['goes_on']['without'] if meta.get('goes_on') and goes_on() -%}
    {#- With it PostgreSQL looks up these rows by an index on that column, not all rows by their keys. -#}
    {%- if limit and is_limited() -%}
        {%- set limited = limit['column'] ~ ' in (' ~ changed_keys(limit['column'], limit['changed_in']) ~ ')' -%}
        {%- do arg_dict.update(incremental_predicates=(arg_dict['incremental_predicates'] or []) + [limited]) -%}
        {#- Once: each look at them goes through the whole table on DuckDB. -#}
        {%- set columns = get_quoted_csv(arg_dict['dest_columns'] | map(attribute='name')) -%}
        {%- set before = rows_before(
            arg_dict,
            'select ' ~ columns ~ ' from ' ~ arg_dict['target_relation'] ~ ' where 1 = 1' ~ and_predicates(arg_dict)
        ) -%}
    {%- endif -%}
    {%- set over -%}
        {%- if without -%}
        select {{ key }} from {{ calculated }} where {{ without }}
        {%- else -%}
        select {{ key }} from {{ before or arg_dict['target_relation'] }}
        where 1 = 1
        {%- if entity and built_through() %} and {{ entity }} in (select {{ entity }} from {{ calculated }}){% endif %}
        {{- and_predicates(arg_dict) }}
        except
        select {{ key }} from {{ calculated }}
        {%- endif -%}
    {%- endset -%}
    {#- Not `not in`: where PostgreSQL cannot keep the keys in memory, it goes through all of them for each row. -#}
    {%- set condition = key_columns(arg_dict) ~ ' in (' ~ over ~ ')' -%}
    {{ remove_rows(arg_dict, condition, before) }}
    {%- set all = not (without or before or entity and built_through()) -%}
    {{ write_changed_rows(arg_dict, condition, without, before, all) }}
{%- endmacro %}
