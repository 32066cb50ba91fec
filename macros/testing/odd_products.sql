{% macro odd_products(condition) -%}
with products as (

    select * from {{ ref('stg_classicmodels__products') }}
    where {{ condition }}

),

-- Most often there are none, and then no line is read.
order_lines as (

    select * from {{ ref('stg_classicmodels__order_details') }}
    where product_code in (select products.product_code from products)

)

select
    products.product_code,
    products.product_name,
    products.buy_price,
    products.msrp,
    coalesce(sum(order_lines.quantity_ordered * order_lines.price_each), 0) as amount

from products
left join order_lines on products.product_code = order_lines.product_code
group by
    products.product_code,
    products.product_name,
    products.buy_price,
    products.msrp
{%- endmacro %}
