{% macro odd_order_lines(condition) -%}
{#- Only a line that is new, or whose product has changed, can be odd now. -#}
{%- set of_changed_products = has_untested_value(ref('stg_classicmodels__products'), 'product_code') -%}
with order_lines as (

    select * from {{ ref('stg_classicmodels__order_details') }}
    {{ 'where ' ~ untested() ~ ' or ' ~ of_changed_products if of_changed_products }}

),

products as (

    select * from {{ ref('stg_classicmodels__products') }}

)

select
    order_lines.order_number,
    order_lines.order_line_number,
    order_lines.product_code,
    order_lines.quantity_ordered,
    order_lines.price_each,
    products.buy_price,
    products.msrp,
    order_lines.quantity_ordered * order_lines.price_each as amount

from order_lines
left join products on order_lines.product_code = products.product_code
where {{ condition }}
{%- endmacro %}
