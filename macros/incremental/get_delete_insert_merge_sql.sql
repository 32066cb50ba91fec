{% macro default__get_delete_insert_merge_sql(
    target, source, unique_key, dest_columns, incremental_predicates
) -%}
    {%- set columns = get_quoted_csv(dest_columns | map(attribute='name')) -%}
    {%- set changes = make_temp_relation(target, '__changes') -%}
    {%- do run_query(
        'create temporary table ' ~ changes ~ ' as'
        ~ ' select ' ~ columns ~ ' from ' ~ source
        ~ ' except'
        ~ ' select ' ~ columns ~ ' from ' ~ target
        ~ ' where ' ~ unique_key ~ ' in (select ' ~ unique_key ~ ' from ' ~ source ~ ')'
    ) -%}
    {%- do count_rows('rows_changed', 'from ' ~ changes) -%}

    delete from {{ target }}
    where {{ unique_key }} in (select {{ unique_key }} from {{ changes }});

    insert into {{ target }} ({{ columns }})
    select {{ columns }} from {{ changes }};

    drop table {{ changes }}
{%- endmacro %}
