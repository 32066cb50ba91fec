with order_lines as (

    select * from {{ ref('int_order_lines_numbered') }}

),

-- Line keys are hashes, so the least of an order is random, and the same each time.
orders as (

    select
        order_number,
        row_number() over (order by min(order_line_key)) as place
    from order_lines
    group by order_number

),

final as (

    select
        -- keys
        order_lines.order_number,
        order_lines.product_number,

        -- dates
        order_lines.order_date

    from orders
    left join order_lines on orders.order_number = order_lines.order_number
    -- To learn from all orders of a large shop takes longer than all other marts together.
    where orders.place <= {{ var('evaluation_orders') }}

)

select * from final
