with order_lines as (

    select * from {{ ref('int_order_lines_numbered') }}

),

orders as (

    select
        customer_key,
        order_number,
        order_date,
        count(*) as line_count,
        row_number() over (
            partition by customer_key
            order by order_date desc, order_number desc
        ) as newest
    from order_lines
    group by
        customer_key,
        order_number,
        order_date

),

-- Keys are hashes, so their order is random, and the same each time.
last_orders as (

    select
        order_number,
        order_date,
        row_number() over (order by customer_key) as case_number
    from orders
    where
        newest = 1
        and line_count > 1

),

final as (

    select
        -- keys
        last_orders.case_number,
        order_lines.product_number,

        -- flags
        -- Line keys are hashes too: the least of them is a random line of the order.
        row_number() over (
            partition by last_orders.case_number
            order by order_lines.order_line_key
        ) = 1 as is_hidden,

        -- dates
        last_orders.order_date

    from last_orders
    left join order_lines on last_orders.order_number = order_lines.order_number
    -- More cases than these take long in a large shop, and hardly change the rate.
    where last_orders.case_number <= {{ var('evaluation_cases') }}

)

select * from final
