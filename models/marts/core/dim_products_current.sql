{{ config(materialized='view') }}

with products as (

    select * from {{ ref('dim_products') }}

),

final as (

    select
        -- keys
        product_key,
        product_code,

        -- attributes
        product_name,
        product_line,
        product_scale,
        product_vendor,
        product_description,
        product_line_description,

        -- numbers
        buy_price,
        msrp,
        quantity_in_stock,

        -- flags
        is_deleted

    from products
    where is_current

)

select * from final
