with dates as (

    select * from {{ ref('dim_dates') }}

),

plausible_years as (

    select
        extract(year from first_date) as first_year,
        extract(year from last_date + {{ var('max_days_to_require') }}) as last_year
    from {{ ref('int_plausible_days') }}

),

orders as (

    select * from {{ ref('stg_classicmodels__orders') }}

),

event_days as (

    select order_date as event_date from orders
    union
    select required_date as event_date from orders
    union
    select shipped_date as event_date from orders
    union
    select payment_date as event_date from {{ ref('stg_classicmodels__payments') }}

),

days as (

    select
        min(dates.date_day) as first_day,
        max(dates.date_day) as last_day,
        count(dates.date_day) as day_count

    from dates
    -- one row
    inner join plausible_years
        on
            extract(year from dates.date_day)
            between plausible_years.first_year and plausible_years.last_year

),

-- Stray days are alone, and something happened on each of them.
strays as (

    select dates.date_day
    from dates
    -- one row
    inner join plausible_years
        on
            extract(year from dates.date_day) < plausible_years.first_year
            or extract(year from dates.date_day) > plausible_years.last_year
    left join event_days on dates.date_day = event_days.event_date
    where event_days.event_date is null

)

select
    first_day,
    last_day,
    day_count
from days
where
    day_count <> last_day - first_day + 1
    or extract(doy from first_day) <> 1
    or extract(month from last_day) * 100 + extract(day from last_day) <> 1231

union all

select
    date_day as first_day,
    date_day as last_day,
    1 as day_count
from strays
