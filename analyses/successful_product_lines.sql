-- Which product lines are successful?
with sales as (

    select * from {{ ref('sales_daily') }}

),

final as (

    select
        product_line,
        sum(unit_count) as units,
        sum(revenue_amount) as revenue,
        round(100 * sum(revenue_amount) / sum(sum(revenue_amount)) over (), 1) as revenue_percent,
        sum(gross_margin_amount) as margin,
        round(100 * sum(gross_margin_amount) / nullif(sum(revenue_amount), 0), 1)
            as margin_percent,
        round(
            100 * sum(discount_amount) / nullif(sum(discount_amount) + sum(revenue_amount), 0), 1
        ) as discount_percent
    from sales
    group by product_line

)

select * from final
order by revenue desc
