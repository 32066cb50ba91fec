{% macro odd_orders(condition) -%}
with orders as (

    select * from {{ ref('stg_classicmodels__orders') }}
    where {{ condition }}

),

-- Most often there are none, and then no line is read.
order_lines as (

    select * from {{ ref('stg_classicmodels__order_details') }}
    where order_number in (select orders.order_number from orders)

)

select
    orders.order_number,
    orders.customer_number,
    orders.order_status,
    orders.order_date,
    orders.required_date,
    orders.shipped_date,
    coalesce(sum(order_lines.quantity_ordered * order_lines.price_each), 0) as amount

from orders
left join order_lines on orders.order_number = order_lines.order_number
group by
    orders.order_number,
    orders.customer_number,
    orders.order_status,
    orders.order_date,
    orders.required_date,
    orders.shipped_date
{%- endmacro %}
