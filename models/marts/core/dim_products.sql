with products as (

    select * from {{ ref('stg_classicmodels__products') }}

),

product_lines as (

    select * from {{ ref('stg_classicmodels__product_lines') }}

),

known as (

    select
        -- keys
        {{ entity_key(['products.product_code']) }} as product_key,
        products.product_code,

        -- attributes
        products.product_name,
        coalesce(products.product_line, 'Unknown') as product_line,
        products.product_scale,
        products.product_vendor,
        products.product_description,
        product_lines.text_description as product_line_description,

        -- numbers
        products.buy_price,
        products.msrp,
        products.quantity_in_stock

    from products
    left join product_lines on products.product_line = product_lines.product_line

),

final as (

    select * from known

    union all

    select
        '-1' as product_key,
        'Unknown' as product_code,
        'Unknown' as product_name,
        'Unknown' as product_line,
        'Unknown' as product_scale,
        'Unknown' as product_vendor,
        'Unknown' as product_description,
        'Unknown' as product_line_description,
        null as buy_price,
        null as msrp,
        null as quantity_in_stock

)

select * from final
