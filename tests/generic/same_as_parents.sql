{% test same_as_parents(model, key, parents, new_by=none, most_rows=none) %}
{%- set untested = has_untested_value(parents[0].to, new_by) -%}
{#- By literals, and in the first parent too: no database carries a condition from one join to another. -#}
{%- set rows = untested -%}
{%- if most_rows and not untested and execute and env_var('TESTS', '') != 'all' and load_cached_relation(parents[0].to) -%}
    {%- set rows = least_hashes(parents[0].to, key, most_rows) -%}
{%- endif -%}
{%- set compared = [] -%}
{%- for parent in parents -%}
    {%- for column in parent.columns | default([]) -%}
        {%- do compared.append((column ~ parent.ending | default(''), parent.as ~ '.' ~ column)) -%}
    {%- endfor -%}
    {%- for column, original in parent.renamed | default({}) | items -%}
        {%- do compared.append((column, parent.as ~ '.' ~ original)) -%}
    {%- endfor -%}
{%- endfor -%}
{%- set differences = [] -%}
{%- for column, original in compared -%}
    {%- do differences.append((column, differs('children.' ~ column, original))) -%}
{%- endfor -%}
with children as (

    select * from {{ model }}
    {{ 'where ' ~ rows if rows }}

),

final as (

    select
        children.{{ key }},
        {%- for column, difference in differences %}
        {{ '|| ' if not loop.first -}}
        case when {{ difference }} then '{{ column }} ' else '' end
        {%- endfor %}
            as different_columns

    from children
    {%- for parent in parents %}
    left join
        {{ '(select * from ' ~ parent.to ~ ' where ' ~ rows ~ ')' if rows and loop.first else parent.to }}
        as {{ parent.as }}
        on {{ parent.by }}
    {%- endfor %}
    -- not by the text, which costs as much again where each row of a large table gets one
    where
        {{ differences | map('last') | join('\n        or ') }}

)

select * from final
{% endtest %}
