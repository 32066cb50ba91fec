{{ config(severity='warn') }}

{%- set orders, all_payments = ref('fact_orders'), ref('fact_payments') -%}
{%- set in_question = has_changed_value([orders, all_payments], 'customer_key') %}

with payments as (

    select * from {{ all_payments }}
    {{ 'where ' ~ in_question if in_question }}

),

order_amounts as (

    select
        customer_number,
        order_number,
        sum(order_amount) as order_amount
    from {{ orders }}
    {{ 'where ' ~ in_question if in_question }}
    group by
        customer_number,
        order_number

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
