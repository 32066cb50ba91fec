{{ config(severity='warn') }}

with product_lines as (

    select
        product_line,
        count(*) as row_count
    from {{ ref('stg_classicmodels__product_lines') }}
    group by product_line
    having count(*) > 1

),

products as (

    select * from {{ ref('stg_classicmodels__products') }}

),

order_lines as (

    select * from {{ ref('stg_classicmodels__order_details') }}

)

select
    product_lines.product_line,
    product_lines.row_count,
    coalesce(sum(order_lines.quantity_ordered * order_lines.price_each), 0) as amount

from product_lines
left join products on product_lines.product_line = products.product_line
left join order_lines on products.product_code = order_lines.product_code
group by
    product_lines.product_line,
    product_lines.row_count
