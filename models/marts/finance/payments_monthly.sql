{{ config(unique_key='year_month') }}

-- All order lines that count as revenue, added up by day.
with sales as (

    select * from {{ ref('sales_daily') }}
    where line_count > 0

),

payments as (

    select * from {{ ref('fact_payments') }}

),

dates as (

    select * from {{ ref('dim_dates') }}

),

data_through as (

    select * from {{ ref('int_data_through') }}

),

plausible_days as (

    select * from {{ ref('int_plausible_days') }}

),

monthly_orders as (

    select
        dates.year_month,
        dates.month_start_date,
        sum(sales.revenue_amount) as ordered_amount

    from sales
    left join dates on sales.order_date_key = dates.date_key
    group by
        dates.year_month,
        dates.month_start_date

),

monthly_payments as (

    select
        dates.year_month,
        dates.month_start_date,
        count(*) as payment_count,
        count(distinct payments.customer_key) as customer_count,
        sum(payments.payment_amount) as payment_amount

    from payments
    left join dates on payments.payment_date_key = dates.date_key
    group by
        dates.year_month,
        dates.month_start_date

),

business_days as (

    select order_date as business_date from sales
    union all
    select payment_date as business_date from payments

),

first_business_day as (

    select min(business_days.business_date) as business_date

    from business_days
    -- one row; a stray day before the others would bring all months in between
    inner join plausible_days on business_days.business_date >= plausible_days.first_date

),

-- Each month of business, also a stray one far from the others, and the unknown one if something
-- has no date.
months as (

    select distinct
        dates.year_month,
        dates.month_start_date

    from dates
    -- one row each
    cross join first_business_day
    cross join data_through
    where
        dates.date_day >= first_business_day.business_date
        and dates.date_day <= data_through.data_through_date

    union

    select
        year_month,
        month_start_date
    from monthly_orders

    union

    select
        year_month,
        month_start_date
    from monthly_payments

),

monthly_amounts as (

    select
        months.year_month,
        months.month_start_date,
        coalesce(monthly_payments.payment_count, 0) as payment_count,
        coalesce(monthly_payments.customer_count, 0) as customer_count,
        coalesce(monthly_payments.payment_amount, 0) as payment_amount,
        coalesce(monthly_orders.ordered_amount, 0) as ordered_amount

    from months
    left join monthly_payments on months.year_month = monthly_payments.year_month
    left join monthly_orders on months.year_month = monthly_orders.year_month

),

final as (

    select
        -- keys
        cast(monthly_amounts.year_month as varchar(7)) as year_month,

        -- numbers
        cast(monthly_amounts.payment_count as bigint) as payment_count,
        cast(monthly_amounts.customer_count as bigint) as customer_count,
        cast(monthly_amounts.payment_amount as numeric(18, 2)) as payment_amount,
        cast(monthly_amounts.ordered_amount as numeric(18, 2)) as ordered_amount,
        cast(monthly_amounts.ordered_amount - monthly_amounts.payment_amount as numeric(18, 2))
            as difference_amount,
        cast(sum(monthly_amounts.ordered_amount - monthly_amounts.payment_amount) over (
            -- the unknown month first, so that the last month has today's balance
            order by coalesce(monthly_amounts.month_start_date, cast('1900-01-01' as date))
            rows between unbounded preceding and current row
        ) as numeric(18, 2)) as balance_amount,

        -- dates
        monthly_amounts.month_start_date

    from monthly_amounts

)

select * from final
