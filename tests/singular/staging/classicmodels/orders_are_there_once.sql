{{ config(severity='warn') }}

{%- set in_question = customers_of_orders_that_may_be_twice() or '1 = 1' %}
{%- set of_one_day -%}
    select order_number from (
        select
            order_number,
            count(*) over (partition by customer_number, order_date) as day_order_count
        from {{ ref('stg_classicmodels__orders') }}
        where order_status <> 'Cancelled' and {{ in_question }}
    ) as counted
    where day_order_count > 1
{%- endset %}
{#- By number too where there are few: PostgreSQL carries no subquery into a view. #}
{%- set lines_in_question = is_one_of('order_number', of_one_day) if tested_through() else '' %}

-- Before the join: most customers order once a day.
with orders as (

    select
        *,
        count(*) over (partition by customer_number, order_date) as day_order_count
    from {{ ref('stg_classicmodels__orders') }}
    where
        order_status <> 'Cancelled'
        and {{ in_question }}

),

order_lines as (

    select * from {{ ref('stg_classicmodels__order_details') }}
    where
        {{ lines_in_question or '1 = 1' }}
        and order_number in (
            select orders.order_number from orders
            where orders.day_order_count > 1
        )

),

-- Orders of one customer and day, with what tells their lines apart.
described_orders as (

    select
        orders.order_number,
        orders.customer_number,
        orders.order_date,
        count(*) as line_count,
        sum(order_lines.quantity_ordered) as unit_count,
        sum(order_lines.quantity_ordered * order_lines.price_each) as order_amount,
        min(order_lines.product_code) as first_product_code,
        max(order_lines.product_code) as last_product_code

    from orders
    -- an order without lines is another test's
    inner join order_lines on orders.order_number = order_lines.order_number
    where orders.day_order_count > 1
    group by
        orders.order_number,
        orders.customer_number,
        orders.order_date

)

select
    customer_number,
    order_date,
    min(order_number) as order_number,
    max(order_number) as other_order_number,
    count(*) as order_count,
    (count(*) - 1) * order_amount as amount
from described_orders
group by
    customer_number,
    order_date,
    line_count,
    unit_count,
    order_amount,
    first_product_code,
    last_product_code
having count(*) > 1
