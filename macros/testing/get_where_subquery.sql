{#- In place of dbt's default__get_where_subquery; relies on generic tests reading through it. -#}
{% macro default__get_where_subquery(relation) -%}
    {%- set where = config.get('where') or '' -%}
    {%- set word = modules.re.search('untested\\((\\w*)\\)', where) -%}
    {%- set key = word.group(1) if word -%}
    {%- set parts = [untested()] if word else [] -%}
    {%- if key and tested_through() -%}
        {#- Two parts, because PostgreSQL can go through the keys once per row for an `or`. -#}
        {%- set parts = [
            key ~ ' in (select ' ~ key ~ ' from ' ~ relation ~ ' where ' ~ untested() ~ ')',
            key ~ ' is null'
        ] -%}
    {%- endif -%}
    {%- set conditions = [where] if where and not word else [] -%}
    {%- for part in parts -%}
        {%- do conditions.append(where.replace(word.group(), part)) -%}
    {%- endfor -%}
    {%- set accepted = accepted_rows(model.name) -%}
    {%- if accepted -%}
        {%- set all_conditions = conditions or ["1 = 1"] -%}
        {%- set conditions = [] -%}
        {%- for condition in all_conditions -%}
            {%- do conditions.append('(' ~ condition ~ ') and ' ~ is_not_accepted(accepted)) -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(rows_under_test(relation, conditions)) }}
{%- endmacro %}

{% macro rows_under_test(relation, conditions) -%}
    {%- if conditions in ([], ['1 = 1']) -%}
        {{ return(relation) }}
    {%- endif -%}
    (
    {%- for condition in conditions -%}
        select * from {{ relation }} where {{ condition }}
        {{- ' union all ' if not loop.last }}
    {%- endfor -%}
    ) as rows_under_test
{%- endmacro %}
