{{ config(severity='warn') }}

with payments as (

    select * from {{ ref('stg_classicmodels__payments') }}

),

orders as (

    select * from {{ ref('stg_classicmodels__orders') }}

),

order_lines as (

    select * from {{ ref('stg_classicmodels__order_details') }}

),

order_amounts as (

    select
        orders.customer_number,
        orders.order_number,
        sum(order_lines.quantity_ordered * order_lines.price_each) as order_amount

    from orders
    left join order_lines on orders.order_number = order_lines.order_number
    group by
        orders.customer_number,
        orders.order_number

),

largest_orders as (

    select
        customer_number,
        max(order_amount) as order_amount
    from order_amounts
    group by customer_number

)

select
    payments.customer_number,
    payments.check_number,
    payments.payment_date,
    largest_orders.order_amount as largest_order_amount,
    payments.payment_amount as amount

from payments
left join largest_orders on payments.customer_number = largest_orders.customer_number
where
    payments.payment_amount
    > coalesce(largest_orders.order_amount, 0) * {{ var('max_price_ratio') }}
