{{ config(severity='warn') }}

{% set of_customers = ['country', 'state', 'city'] -%}
{%- set of_products = ['product_line', 'product_scale', 'product_vendor'] -%}
{%- set of_others = {
    'product_lines': ['product_line'], 'offices': ['country', 'state', 'city'],
    'employees': ['job_title'],
} -%}

with customers as (

    select * from {{ ref('stg_classicmodels__customers') }}

),

products as (

    select * from {{ ref('stg_classicmodels__products') }}

),

orders as (

    select * from {{ ref('stg_classicmodels__orders') }}

),

order_lines as (

    select * from {{ ref('stg_classicmodels__order_details') }}

),

customer_amounts as (

    select
        orders.customer_number,
        sum(order_lines.quantity_ordered * order_lines.price_each) as amount

    from orders
    left join order_lines on orders.order_number = order_lines.order_number
    group by orders.customer_number

),

product_amounts as (

    select
        product_code,
        sum(quantity_ordered * price_each) as amount
    from order_lines
    group by product_code

),

names as (

    {% for column_name in of_customers %}
    select
        '{{ column_name }}' as column_name,
        customers.{{ column_name }} as spelling,
        customer_amounts.amount
    from customers
    left join customer_amounts on customers.customer_number = customer_amounts.customer_number
    union all
    {%- endfor %}
    {%- for column_name in of_products %}
    select
        '{{ column_name }}' as column_name,
        products.{{ column_name }} as spelling,
        product_amounts.amount
    from products
    left join product_amounts on products.product_code = product_amounts.product_code
    union all
    {%- endfor %}
    {%- for entity, column_names in of_others.items() %}
    {%- set last_entity = loop.last %}
    {%- for column_name in column_names %}
    select
        '{{ column_name }}' as column_name,
        {{ column_name }} as spelling,
        null as amount
    from {{ ref('stg_classicmodels__' ~ entity) }}
    {{ 'union all' if not (loop.last and last_entity) }}
    {%- endfor %}
    {%- endfor %}

)

select
    column_name,
    min(spelling) as first_spelling,
    max(spelling) as other_spelling,
    count(*) as row_count,
    coalesce(sum(amount), 0) as amount
from names
group by
    column_name,
    {{ comparable_text('spelling') }}
having count(distinct spelling) > 1
