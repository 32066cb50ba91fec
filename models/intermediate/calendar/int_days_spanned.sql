with orders as (

    select * from {{ ref('stg_classicmodels__orders') }}

),

payments as (

    select * from {{ ref('stg_classicmodels__payments') }}

),

plausible_days as (

    select * from {{ ref('int_plausible_days') }}

),

-- Once: PostgreSQL would keep all columns of what is read three times.
days_of_orders as (

    select distinct
        order_date,
        required_date,
        shipped_date
    from orders

),

event_days as (

    select order_date as event_date from days_of_orders
    union
    select required_date as event_date from days_of_orders
    union
    select shipped_date as event_date from days_of_orders
    union
    select payment_date as event_date from payments

),

judged_days as (

    select
        event_days.event_date,
        extract(year from event_days.event_date)
        between extract(year from plausible_days.first_date)
        and extract(year from plausible_days.last_date + {{ var('max_days_to_require') }})
            as is_plausible

    from event_days
    -- one row
    cross join plausible_days
    where event_days.event_date is not null

),

-- Whole years, so that a year or a quarter can be compared with all of its days.
year_bounds as (

    select
        cast({{ dbt.date_trunc('year', 'min(event_date)') }} as date) as first_day,
        extract(year from max(event_date)) as last_year
    from judged_days
    where is_plausible

),

numbers as (

    {{ dbt.generate_series(upper_bound=36525) }}

),

days as (

    select
        year_bounds.first_day + (cast(numbers.generated_number as integer) - 1) as date_day,
        year_bounds.last_year
    from numbers
    cross join year_bounds

),

-- A stray day has its row, but not the years between it and the others.
final as (

    select date_day
    from days
    where extract(year from date_day) <= last_year

    union all

    select event_date as date_day
    from judged_days
    where not coalesce(is_plausible, false)

)

select * from final
