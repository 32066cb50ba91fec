{% set lines = ref('fact_orders') -%}
{#- By name, because no database carries a subquery into the wide view's joins. -#}
{%- set orders = [] -%}
{%- if tested_through() -%}
    {%- set orders = run_query(
        'select distinct order_number from ' ~ lines ~ ' where ' ~ untested() ~ ' limit 5000'
    ).columns[0].values() | list -%}
    {%- set orders = ['null'] if not orders else [] if orders | length == 5000 else orders -%}
{%- endif -%}

-- As a whole, not per order: left joins can double a line, and that shows in the sums.
with counted as (

    {% for relation in [lines, ref('orders_obt')] %}
    select
        count(*) as row_count,
        sum(order_amount) as order_amount,
        sum(revenue_amount) as revenue_amount
    from {{ relation }}
    {%- if orders %}
    where order_number in ({{ orders | join(', ') }})
    {%- endif %}
    {{ 'union all' if not loop.last }}
    {%- endfor %}

),

distinguished as (

    select distinct * from counted

)

select
    max(row_count) - min(row_count) as row_difference,
    max(order_amount) - min(order_amount) as order_difference,
    max(revenue_amount) - min(revenue_amount) as revenue_difference
from distinguished
having count(*) <> 1
