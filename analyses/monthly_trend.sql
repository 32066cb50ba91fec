-- How do sales develop from month to month, and against the year before?
with order_lines as (

    select * from {{ ref('orders_obt') }}
    where is_revenue

),

months as (

    select
        order_year,
        order_year_month as year_month,
        count(distinct order_number) as orders,
        sum(revenue_amount) as revenue,
        round(100 * sum(gross_margin_amount) / nullif(sum(revenue_amount), 0), 1)
            as margin_percent
    from order_lines
    group by
        order_year,
        order_year_month

),

final as (

    select
        months.year_month,
        months.orders,
        months.revenue,
        months.margin_percent,
        year_before.revenue as revenue_year_before,
        round(100 * (months.revenue - year_before.revenue) / nullif(year_before.revenue, 0), 1)
            as change_percent

    from months
    left join months as year_before
        on
            months.order_year = year_before.order_year + 1
            and substring(months.year_month, 6, 2) = substring(year_before.year_month, 6, 2)

)

select * from final
order by year_month
