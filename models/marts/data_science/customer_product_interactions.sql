{{ config(materialized='view') }}

with order_lines as (

    select * from {{ ref('fact_orders') }}
    where
        is_revenue
        and customer_key <> '-1'
        and product_key <> '-1'
        and order_date is not null

),

final as (

    select
        -- keys
        customer_key,
        product_key,
        customer_number,
        product_code,

        -- numbers
        cast(sum(quantity_ordered) as bigint) as unit_count,

        -- dates
        order_date

    from order_lines
    group by
        customer_key,
        product_key,
        customer_number,
        product_code,
        order_date

)

select * from final
