{% macro untested() -%}
    {%- if tested_through() -%}
        (_loaded_at > cast('{{ tested_through() }}' as timestamp) or _loaded_at is null)
    {%- else -%}
        1 = 1
    {%- endif -%}
{%- endmacro %}

{% macro tested_through() -%}
    {#- Not while dbt parses: it would parse everything anew whenever the mark moves. -#}
    {%- if not execute or model.name in env_var('WARNED_BEFORE', '').split() -%}
        {{ return('') }}
    {%- endif -%}
    {{ return(env_var('TESTED_THROUGH', '')) }}
{%- endmacro %}

{#- For rows without `_loaded_at`: a column has one of the values that it has in rows which no green build has
tested. Nothing: all rows are tested. -#}
{% macro has_untested_value(relation, column) -%}
    {%- if not (column and tested_through()) -%}
        {{ return('') }}
    {%- endif -%}
    {{ return(is_one_of(column, 'select distinct ' ~ column ~ ' from ' ~ relation ~ ' where ' ~ untested())) }}
{%- endmacro %}

{#- The same for values of rows that this run has put in or taken out. -#}
{% macro has_changed_value(relations, column) -%}
    {%- if not knows_all_changes() -%}
        {{ return('') }}
    {%- endif -%}
    {%- set queries = [] -%}
    {%- for relation in relations -%}
        {%- do queries.append('select ' ~ column ~ ' from ' ~ rows_or_changes(relation, true)) -%}
    {%- endfor -%}
    {{ return(is_one_of(column, queries | join(' union '))) }}
{%- endmacro %}

{#- By name, because no database carries a subquery into the joins of a view. Nothing: too many. -#}
{% macro is_one_of(column, query, most=5000) -%}
    {%- set rows = run_query(query ~ ' limit ' ~ most).rows -%}
    {%- set values = rows | map('first') | reject('none') | list -%}
    {{ return(
        '' if rows | length == most
        else '1 = 0' if not values
        else column ~ " in ('" ~ values | map('string') | map('replace', "'", "''") | join("', '") ~ "')"
    ) }}
{%- endmacro %}
