{{ config(severity='warn') }}

{%- set in_question = orders_that_may_lack_lines() %}

with orders as (

    select * from {{ ref('stg_classicmodels__orders') }}
    {{ 'where ' ~ in_question if in_question }}

),

order_lines as (

    select order_number from {{ ref('stg_classicmodels__order_details') }}
    {{ 'where ' ~ in_question if in_question }}

),

-- What the loader found deleted, with its last values.
deleted_lines as (

    select * from {{ source('classicmodels', 'orderdetails') }}
    where _deleted_at is not null

)

select
    orders.order_number,
    orders.customer_number,
    orders.order_status,
    orders.order_date,
    count(deleted_lines.ordernumber) as deleted_lines,
    coalesce(sum(deleted_lines.quantityordered * deleted_lines.priceeach), 0) as amount

from orders
left join order_lines on orders.order_number = order_lines.order_number
left join deleted_lines on orders.order_number = deleted_lines.ordernumber
where order_lines.order_number is null
group by
    orders.order_number,
    orders.customer_number,
    orders.order_status,
    orders.order_date
