{% test adds_up_to(model, to, sums, by="'all'", rows=none) %}
with compared as (

    select
        {{ by }} as compared_key
        {%- for column in sums %},
        {{ column }} as sum_{{ loop.index }}
        {%- endfor %}
    from {{ model }}

    union all

    select
        {{ by }} as compared_key
        {%- for expression in sums.values() %},
        -({{ expression }}) as sum_{{ loop.index }}
        {%- endfor %}
    from {{ to }}
    {{ 'where ' ~ rows if rows }}

)

select
    compared_key
    {%- for column in sums %},
    sum(sum_{{ loop.index }}) as difference_{{ loop.index }}
    {%- endfor %}
from compared
group by compared_key
having
    {%- for column in sums %}
    {{ 'or ' if not loop.first }}coalesce(sum(sum_{{ loop.index }}), 0) <> 0
    {%- endfor %}
{% endtest %}
