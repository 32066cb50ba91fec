{% test same_as_parents(model, key, parents, new_by=none) %}
{%- set values = untested_values(parents[0].to, new_by) if new_by else [] -%}
{%- set compared = [] -%}
{%- for parent in parents -%}
    {%- for column in parent.columns | default([]) -%}
        {%- do compared.append((column ~ parent.ending | default(''), parent.as ~ '.' ~ column)) -%}
    {%- endfor -%}
    {%- for column, original in parent.renamed | default({}) | items -%}
        {%- do compared.append((column, parent.as ~ '.' ~ original)) -%}
    {%- endfor -%}
{%- endfor -%}
with children as (

    select * from {{ model }}
    {{ 'where ' ~ new_by ~ ' in (' ~ values | join(', ') ~ ')' if values }}

),

final as (

    select
        children.{{ key }},
        {%- for column, original in compared %}
        {{ '|| ' if not loop.first -}}
        case when {{ differs('children.' ~ column, original) }} then '{{ column }} ' else '' end
        {%- endfor %}
            as different_columns

    from children
    {%- for parent in parents %}
    left join {{ parent.to }} as {{ parent.as }}
        on {{ parent.by }}
    {%- endfor %}
    -- not by the text, which costs as much again where each row of a large table gets one
    where
        {%- for column, original in compared %}
        {{ 'or ' if not loop.first -}}
        {{ differs('children.' ~ column, original) }}
        {%- endfor %}

)

select * from final
{% endtest %}
