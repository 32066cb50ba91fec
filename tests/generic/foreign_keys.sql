{% test foreign_keys(model, parents, known=[]) %}
with children as (

    select * from {{ model }}

)

select
    {%- for column in parents %}
    children.{{ column }},
    {%- endfor %}
    count(*) as row_count
from children
{%- for column, parent in parents.items() %}
left join {{ parent.to }} as parent_{{ loop.index }}
    on children.{{ column }} = parent_{{ loop.index }}.{{ parent.field | default(column) }}
{%- endfor %}
where
    {%- for column, parent in parents.items() %}
    {{ 'or ' if not loop.first }}parent_{{ loop.index }}.{{ parent.field | default(column) }} is null
    {%- endfor %}
    {%- for column in known %}
    or children.{{ column }} = '-1'
    {%- endfor %}
group by
    {%- for column in parents %}
    children.{{ column }}{{ ',' if not loop.last }}
    {%- endfor %}
{% endtest %}
