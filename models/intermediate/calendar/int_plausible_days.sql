-- Marts of several groups read it. It is kept, because each would look at all orders and payments.
-- Its key is that there is one row.
{{ config(
    materialized='incremental',
    incremental_strategy='whole',
    unique_key='1',
    on_schema_change='append_new_columns',
    tags='live',
    access='protected'
) }}

{#- A pause that is longer than this divides a few stray days from the shop's own. -#}
{%- set pause = var('max_days_without_business') -%}

with orders as (

    select * from {{ ref('stg_classicmodels__orders') }}

),

payments as (

    select * from {{ ref('stg_classicmodels__payments') }}

),

-- Few days stand for all orders and payments.
events as (

    select
        order_date as event_date,
        count(*) as event_count,
        max(_loaded_at) as _loaded_at
    from orders
    group by order_date
    union all
    select
        payment_date as event_date,
        count(*) as event_count,
        max(_loaded_at) as _loaded_at
    from payments
    group by payment_date

),

-- A day more, because the shop's clock can be ahead of UTC.
last_load as (

    select cast(max(_loaded_at) as date) + 1 as last_date from events

),

business_days as (

    select
        events.event_date,
        sum(events.event_count) as event_count

    from events
    -- one row; days after the last load are no business yet
    inner join last_load
        on events.event_date <= coalesce(last_load.last_date, cast('9999-12-31' as date))
    group by events.event_date

),

counted_days as (

    select
        event_date,
        event_date - lag(event_date) over (order by event_date) as pause_before,
        lead(event_date) over (order by event_date) - event_date as pause_after,
        sum(event_count) over (order by event_date rows unbounded preceding) as events_until,
        sum(event_count) over (order by event_date desc rows unbounded preceding) as events_from,
        sum(event_count) over () as all_events,
        max(event_date) over () as newest_date
    from business_days

),

-- Only a tenth of all events, at most, can be strays: a shop may pause and begin again.
bounds as (

    select
        min(event_date) as first_event_date,
        max(case
            when pause_before > {{ pause }} and events_from * 10 >= all_events * 9 then event_date
        end) as first_date_after_strays,
        min(case
            when pause_after > {{ pause }} and events_until * 10 >= all_events * 9 then event_date
        end) as last_date_before_strays,
        max(newest_date) as newest_date
    from counted_days

),

final as (

    select
        coalesce(bounds.first_date_after_strays, bounds.first_event_date) as first_date,
        -- What is new is plausible after any pause.
        case
            when bounds.newest_date < last_load.last_date - {{ pause }}
                then coalesce(bounds.last_date_before_strays, last_load.last_date)
            else coalesce(last_load.last_date, bounds.newest_date)
        end as last_date

    from bounds
    -- one row each
    cross join last_load

)

select * from final
