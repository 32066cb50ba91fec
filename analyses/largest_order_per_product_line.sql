-- What was the largest order in each product line?
with order_lines as (

    select * from {{ ref('orders_obt') }}
    where is_revenue

),

orders as (

    select
        product_line_at_order as product_line,
        order_number,
        order_date,
        customer_name_now as customer,
        country_at_order as country,
        sum(quantity_ordered) as units,
        sum(revenue_amount) as revenue
    from order_lines
    group by
        product_line_at_order,
        order_number,
        order_date,
        customer_name_now,
        country_at_order

),

ranked as (

    select
        *,
        row_number() over (partition by product_line order by revenue desc, order_number asc)
            as place
    from orders

),

final as (

    select
        product_line,
        order_number,
        order_date,
        customer,
        country,
        units,
        revenue
    from ranked
    where place = 1

)

select * from final
order by revenue desc
