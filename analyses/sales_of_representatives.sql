-- What did each sales representative sell, in all and in the last 90 days?
with order_lines as (

    select * from {{ ref('orders_obt') }}
    where is_revenue

),

final as (

    select
        sales_rep_name_at_order as representative,
        office_city_at_order as office,
        count(distinct customer_number) as customers,
        count(distinct order_number) as orders,
        sum(revenue_amount) as revenue,
        round(100 * sum(gross_margin_amount) / nullif(sum(revenue_amount), 0), 1)
            as margin_percent,
        cast(sum(case
            when order_date > as_of_date - 90 and order_date <= as_of_date then revenue_amount
            else 0
        end) as numeric(18, 2)) as revenue_90_days
    from order_lines
    group by
        sales_rep_name_at_order,
        office_city_at_order

)

select * from final
order by revenue desc, representative asc
