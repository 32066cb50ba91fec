{% macro reconciles(left, right) -%}
with
{%- if tested_through() %} untested_keys as (

    select {{ left.key }} as reconciled_key from {{ left.relation }}
    where {{ untested() }}
    union
    select {{ right.key }} as reconciled_key from {{ right.relation }}
    where {{ untested() }}

),

-- All others together: their sums must agree too.
{% endif %} compared as (

    {% for side in [left, right] %}
    {%- set sign = '' if loop.first else '-' %}
    select
        {{ 'untested_keys.reconciled_key' if tested_through() else side.key ~ ' as reconciled_key' }},
        {{ sign }}1 as row_difference,
        {{ sign }}({{ side.amount }}) as amount_difference
    from {{ side.relation }} as side
    {%- if tested_through() %}
    left join untested_keys on side.{{ side.key }} = untested_keys.reconciled_key
    {%- endif %}
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
