{% set lines = ref('fact_orders') -%}
{%- set untested = has_untested_value(lines, 'order_number') -%}

-- As a whole, not per order: left joins can double a line, and that shows in the sums.
with counted as (

    {% for relation in [lines, ref('orders_obt')] %}
    select
        count(*) as row_count,
        sum(quantity_ordered) as quantity_ordered,
        sum(order_amount) as order_amount,
        sum(revenue_amount) as revenue_amount,
        sum(cost_amount) as cost_amount,
        sum(discount_amount) as discount_amount
    from {{ relation }}
    {{ 'where ' ~ untested if untested }}
    {{ 'union all' if not loop.last }}
    {%- endfor %}

),

distinguished as (

    select distinct * from counted

)

select
    max(row_count) - min(row_count) as row_difference,
    max(quantity_ordered) - min(quantity_ordered) as quantity_difference,
    max(order_amount) - min(order_amount) as order_difference,
    max(revenue_amount) - min(revenue_amount) as revenue_difference,
    max(cost_amount) - min(cost_amount) as cost_difference,
    max(discount_amount) - min(discount_amount) as discount_difference
from distinguished
having count(*) <> 1
