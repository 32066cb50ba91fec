with fact_orders as (

    select * from {{ ref('fact_orders') }}
    where
        is_revenue
        and customer_key <> '-1'
        and product_key <> '-1'
        and order_date is not null

),

-- Integers compare faster than hash keys, and there are millions of pairs to compare.
products as (

    select
        product_key,
        row_number() over (order by product_key) as product_number
    from {{ ref('dim_products_current') }}

),

final as (

    select
        -- keys
        fact_orders.order_line_key,
        fact_orders.customer_key,
        fact_orders.order_number,
        products.product_number,

        -- dates
        fact_orders.order_date

    from fact_orders
    left join products on fact_orders.product_key = products.product_key

)

select * from final
