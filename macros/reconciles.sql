{% macro reconciles(left, right) -%}
with compared as (

    {% for side in [left, right] %}
    {%- set sign = '' if loop.first else '-' %}
    select
        {{ side.key }} as reconciled_key,
        {{ sign }}1 as row_difference,
        {{ sign }}({{ side.amount }}) as amount_difference
    from {{ side.relation }}
    {{- '\n    where ' ~ side.where if side.where }}
    {{ 'union all' if not loop.last }}
    {%- endfor %}

)

select
    reconciled_key,
    sum(row_difference) as row_difference,
    sum(amount_difference) as amount_difference
from compared
group by reconciled_key
having
    sum(row_difference) <> 0
    or coalesce(sum(amount_difference), 0) <> 0
{%- endmacro %}
