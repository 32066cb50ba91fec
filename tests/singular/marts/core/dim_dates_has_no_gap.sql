with days as (

    select
        min(dates.date_day) as first_day,
        max(dates.date_day) as last_day,
        count(dates.date_day) as day_count

    from {{ ref('dim_dates') }} as dates
    -- one row; stray days are alone
    inner join {{ ref('int_plausible_days') }} as plausible_days
        on
            extract(year from dates.date_day) >= extract(year from plausible_days.first_date)
            and extract(year from dates.date_day)
            <= extract(year from plausible_days.last_date + {{ var('max_days_to_require') }})

)

select * from days
where
    day_count <> last_day - first_day + 1
    or extract(doy from first_day) <> 1
    or extract(month from last_day) * 100 + extract(day from last_day) <> 1231
