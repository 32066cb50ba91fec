with sales as (

    select * from {{ ref('sales_by_hour') }}

),

order_lines as (

    select * from {{ ref('fact_orders') }}
    where is_revenue

),

order_histories as (

    select * from {{ ref('fact_order_life') }}

),

period as (

    select
        min(as_of_date) - 29 as first_day,
        max(as_of_date) as last_day
    from sales

),

lines_with_hours as (

    select
        case when order_histories.is_first_seen_in_log then order_histories.first_seen_at end
            as first_seen_at,
        1 as line_count

    from order_lines
    -- one row
    inner join period on order_lines.order_date between period.first_day and period.last_day
    left join order_histories on order_lines.order_number = order_histories.order_number

),

compared as (

    select
        cast({{ dbt.date_trunc('hour', 'first_seen_at') }} as timestamp) as sales_hour_at,
        line_count
    from lines_with_hours

    union all

    select
        sales_hour_at,
        -line_count as line_count
    from sales

)

select
    sales_hour_at,
    sum(line_count) as difference
from compared
group by sales_hour_at
having sum(line_count) <> 0
