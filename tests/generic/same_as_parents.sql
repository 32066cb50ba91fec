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

compared as (

    select
        children.{{ key }},
        {%- for column, original in compared %}
        {{ '|| ' if not loop.first -}}
        case
            when children.{{ column }} = {{ original }} then ''
            when children.{{ column }} is null and {{ original }} is null then ''
            else '{{ column }} '
        end
        {%- endfor %}
            as different_columns

    from children
    {%- for parent in parents %}
    left join {{ parent.to }} as {{ parent.as }}
        on {{ parent.by }}
    {%- endfor %}

)

select * from compared
where different_columns <> ''
{% endtest %}
