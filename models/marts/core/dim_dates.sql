{{ config(unique_key='date_key') }}

{%- set months = [
    'January', 'February', 'March', 'April', 'May', 'June',
    'July', 'August', 'September', 'October', 'November', 'December',
] -%}
{%- set weekdays = [
    'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'
] -%}

with days as (

    select * from {{ ref('int_days_spanned') }}

),

-- 1 January of the year 1 was a Monday.
date_parts as (

    select
        date_day,
        cast(extract(year from date_day) as integer) as year_number,
        cast(extract(quarter from date_day) as integer) as quarter_number,
        cast(extract(month from date_day) as integer) as month_number,
        cast(extract(day from date_day) as integer) as day_of_month,
        cast(extract(doy from date_day) as integer) as day_of_year,
        cast(mod(date_day - cast('0001-01-01' as date), 7) + 1 as integer) as weekday_number
    from days

),

-- An ISO week belongs to the year of its Thursday.
iso_weeks as (

    select
        *,
        date_day + (1 - weekday_number) as week_start_date,
        date_day + (4 - weekday_number) as week_thursday,
        extract(day from date_day + 1) = 1 as is_month_end
    from date_parts

),

described as (

    select
        -- keys
        {{ date_key('date_day') }} as date_key,
        date_day,

        -- attributes
        cast(case weekday_number
            {%- for weekday in weekdays %}
            when {{ loop.index }} then '{{ weekday }}'
            {%- endfor %}
        end as varchar(9)) as weekday_name,
        cast(case month_number
            {%- for month in months %}
            when {{ loop.index }} then '{{ month }}'
            {%- endfor %}
        end as varchar(9)) as month_name,
        cast(
            cast(year_number as varchar(4))
            || '-' || lpad(cast(month_number as varchar(2)), 2, '0')
            as varchar(7)
        ) as year_month,
        cast(
            cast(year_number as varchar(4)) || '-Q' || cast(quarter_number as varchar(1))
            as varchar(7)
        ) as year_quarter,

        -- numbers
        year_number,
        quarter_number,
        month_number,
        day_of_month,
        day_of_year,
        weekday_number,
        cast(extract(year from week_thursday) as integer) as iso_year,
        cast({{ integer_divide(
            'cast(extract(doy from week_thursday) as integer) + 6', '7'
        ) }} as integer) as iso_week,

        -- flags
        weekday_number >= 6 as is_weekend,
        is_month_end,
        is_month_end and month_number in (3, 6, 9, 12) as is_quarter_end,
        month_number = 12 and day_of_month = 31 as is_year_end,

        -- dates
        week_start_date,
        cast({{ dbt.date_trunc('month', 'date_day') }} as date) as month_start_date,
        cast({{ dbt.date_trunc('quarter', 'date_day') }} as date) as quarter_start_date

    from iso_weeks

),

final as (

    {{ with_unknown_member('described') }}

)

select * from final
