{{ config(severity='warn') }}

{#- Orders change amounts, not which customers look alike. -#}
{%- set is_same = is_same_as_tested(['customers']) %}

with named_customers as (

    select
        *,
        {{ comparable_text('customer_name') }} as comparable_name
    from {{ ref('stg_classicmodels__customers') }}
    {{ 'where 1 = 0' if is_same }}

),

-- Before the joins: only of those that look alike are the orders looked up.
customers as (

    select
        *,
        count(*) over (
            partition by comparable_name, country, city, address_line_1
        ) as alike_count
    from named_customers

),

orders as (

    select * from {{ ref('stg_classicmodels__orders') }}

),

order_lines as (

    select * from {{ ref('stg_classicmodels__order_details') }}

)

select
    min(customers.customer_number) as customer_number,
    max(customers.customer_number) as other_customer_number,
    count(distinct customers.customer_number) as customer_count,
    coalesce(sum(order_lines.quantity_ordered * order_lines.price_each), 0) as amount

from customers
left join orders on customers.customer_number = orders.customer_number
left join order_lines on orders.order_number = order_lines.order_number
where customers.alike_count > 1
group by
    customers.comparable_name,
    customers.country,
    customers.city,
    customers.address_line_1
having count(distinct customers.customer_number) > 1
