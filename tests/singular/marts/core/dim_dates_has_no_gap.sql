with days as (

    select
        min(date_day) as first_day,
        max(date_day) as last_day,
        count(date_day) as day_count
    from {{ ref('dim_dates') }}

)

select * from days
where
    day_count <> last_day - first_day + 1
    or extract(doy from first_day) <> 1
    or extract(month from last_day) * 100 + extract(day from last_day) <> 1231
