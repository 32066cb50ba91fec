-- How many orders were shipped late, and how many wait although they should have left?
with order_lines as (

    select * from {{ ref('orders_obt') }}
    where is_revenue

),

orders as (

    select distinct
        order_year_quarter,
        order_number,
        days_to_ship,
        is_shipped,
        is_late,
        is_overdue
    from order_lines

),

final as (

    select
        order_year_quarter as year_quarter,
        count(*) as orders,
        sum(case when is_shipped then 1 else 0 end) as shipped,
        sum(case when is_late then 1 else 0 end) as late,
        round(
            100.0 * sum(case when is_late then 1 else 0 end)
            / nullif(sum(case when is_shipped then 1 else 0 end), 0),
            1
        ) as late_percent,
        round(avg(days_to_ship), 1) as average_days_to_ship,
        max(days_to_ship) as longest_days_to_ship,
        sum(case when is_overdue then 1 else 0 end) as overdue
    from orders
    group by order_year_quarter

)

select * from final
order by year_quarter
