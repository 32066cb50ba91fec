with orders as (

    select * from {{ ref('stg_classicmodels__orders') }}

),

payments as (

    select * from {{ ref('stg_classicmodels__payments') }}

),

event_days as (

    select order_date as event_date from orders
    union all
    select required_date as event_date from orders
    union all
    select shipped_date as event_date from orders
    union all
    select payment_date as event_date from payments

),

-- Whole years, so that a year or a quarter can be compared with all of its days.
year_bounds as (

    select
        cast({{ dbt.date_trunc('year', 'min(event_date)') }} as date) as first_day,
        extract(year from max(event_date)) as last_year
    from event_days

),

-- 100 years are enough for a shop: a stray date beyond them fails the tests on the date keys.
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

final as (

    select date_day
    from days
    where extract(year from date_day) <= last_year

)

select * from final
