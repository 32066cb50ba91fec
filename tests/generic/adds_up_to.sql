{% test adds_up_to(model, parents, by="'all'", new_by=none) %}
{%- set untested = has_untested_value(parents[0].to, new_by) -%}
{%- set columns = [] -%}
{%- for parent in parents -%}
    {%- do columns.extend(parent.sums) -%}
{%- endfor -%}
with compared as (

    select
        {{ by }} as compared_key
        {%- for column in columns %},
        {{ column }} as sum_{{ loop.index }}
        {%- endfor %}
    from {{ model }}
    {{ 'where ' ~ untested if untested }}

    {%- for parent in parents %}

    union all

    select
        {{ by }} as compared_key
        {%- for column in columns %},
        {{ '-(' ~ parent.sums[column] ~ ')' if column in parent.sums else '0' }} as sum_{{ loop.index }}
        {%- endfor %}
    from {{ parent.to }}
    {%- set conditions = [untested, parent.rows] | select | list %}
    {{ 'where (' ~ conditions | join(') and (') ~ ')' if conditions }}
    {%- endfor %}

)

select
    compared_key
    {%- for column in columns %},
    {#- A sum of the mart can be an expression. #}
    sum(sum_{{ loop.index }})
        as difference_{{ column if modules.re.fullmatch('\\w+', column) else loop.index }}
    {%- endfor %}
from compared
group by compared_key
having
    {%- for column in columns %}
    {{ 'or ' if not loop.first }}coalesce(sum(sum_{{ loop.index }}), 0) <> 0
    {%- endfor %}
{% endtest %}
