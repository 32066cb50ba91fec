with products as (

    select * from {{ ref('stg_classicmodels__products') }}

),

product_lines as (

    select distinct {{ comparable_text('product_line') }} as comparable_line
    from {{ ref('stg_classicmodels__product_lines') }}

)

select
    products.product_code,
    products.product_name,
    products.product_line

from products
left join product_lines
    on {{ comparable_text('products.product_line') }} = product_lines.comparable_line
where
    products.product_line is not null
    and product_lines.comparable_line is null
