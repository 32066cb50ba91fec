{#- In place of dbt's default__get_where_subquery; relies on generic tests reading through it. -#}
{% macro default__get_where_subquery(relation) -%}
    {%- set where = config.get('where') or '' -%}
    {%- set parent = modules.re.search('untested_while_same\\((\\w+)\\)', where) -%}
    {%- if parent -%}
        {%- set condition = 'untested()' if is_same_as_tested([parent.group(1)]) else '1 = 1' -%}
        {%- set where = where.replace(parent.group(), condition) -%}
    {%- endif -%}
    {%- set word = modules.re.search('untested\\((\\w*)\\)', where) -%}
    {%- set key = word.group(1) if word -%}
    {%- set parts = [untested()] if word else [] -%}
    {%- if key and tested_through() -%}
        {#- Two parts, because PostgreSQL can go through the keys once per row for an `or`. -#}
        {%- set keys = 'select ' ~ key ~ ' from ' ~ relation ~ ' where ' ~ untested() -%}
        {%- set parts = [has_untested_value(relation, key) or key ~ ' in (' ~ keys ~ ')', key ~ ' is null'] -%}
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
    {%- if word and tested_through() and conditions | length == 1 -%}
        {#- Otherwise DuckDB cleans each text of the table for a condition of the test, before it looks at the time. -#}
        {%- set conditions = [conditions[0] ~ ' offset 0'] -%}
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

{#- Whether no row of some tables of the shop is new, changed or gone since it was tested. -#}
{% macro is_same_as_tested(tables) -%}
    {%- if not tested_through() -%}
        {{ return(false) }}
    {%- endif -%}
    {#- A row that is gone has the time of the load that missed it; an empty table has lost all without a trace. -#}
    {%- set query -%}
        select 1 as same
        from (
            {%- for table in tables %}
            select max(_loaded_at) as loaded_at
            from {{ graph.sources['source.' ~ project_name ~ '.classicmodels.' ~ table].relation_name }}
            {{ 'union all' if not loop.last }}
            {%- endfor %}
        ) as latest
        having
            max(loaded_at) <= cast('{{ tested_through() }}' as timestamp)
            and count(loaded_at) = {{ tables | length }}
    {%- endset -%}
    {{ return(run_query(query).rows | length > 0) }}
{%- endmacro %}
