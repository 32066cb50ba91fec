with sales as (

    select * from {{ ref('sales_daily') }}

),

period as (

    select
        min(order_lines.order_date) as first_date,
        max(data_through.data_through_date) as last_date

    from {{ ref('fact_orders') }} as order_lines
    -- one row each; without stray days before the others
    inner join {{ ref('int_plausible_days') }} as plausible_days
        on order_lines.order_date >= plausible_days.first_date
    cross join {{ ref('int_data_through') }} as data_through
    where order_lines.is_revenue

),

markets as (

    select distinct
        product_line,
        country
    from sales

),

counted as (

    select
        sum(case
            when sales.order_date between period.first_date and period.last_date then 1
            else 0
        end) as row_count,
        (max(period.last_date) - max(period.first_date) + 1) * (select count(*) from markets)
            as expected_row_count

    from sales
    -- one row
    cross join period

)

select * from counted
where row_count <> expected_row_count
