-- How do sales spread over countries?
with order_lines as (

    select * from {{ ref('orders_obt') }}
    where is_revenue

),

final as (

    select
        country_at_order as country,
        territory_at_order as territory,
        count(distinct customer_number) as customers,
        count(distinct order_number) as orders,
        sum(revenue_amount) as revenue,
        round(100 * sum(revenue_amount) / sum(sum(revenue_amount)) over (), 1) as revenue_percent
    from order_lines
    group by
        country_at_order,
        territory_at_order

)

select * from final
order by revenue desc
