-- Marts of several groups read it. It is kept, because each would look at all orders and payments.
-- Its key is that there is one row.
{{ config(
    materialized='incremental',
    incremental_strategy='whole',
    unique_key='1',
    on_schema_change='append_new_columns',
    access='protected'
) }}

with orders as (

    select * from {{ ref('stg_classicmodels__orders') }}

),

payments as (

    select * from {{ ref('stg_classicmodels__payments') }}

),

-- Few days stand for all orders and payments.
order_days as (

    select
        order_date,
        shipped_date,
        max(_loaded_at) as _loaded_at
    from orders
    group by
        order_date,
        shipped_date

),

payment_days as (

    select
        payment_date,
        max(_loaded_at) as _loaded_at
    from payments
    group by payment_date

),

business_days as (

    select
        order_date as business_date,
        _loaded_at
    from order_days
    union all
    select
        case
            when shipped_date <= order_date + {{ var('max_days_to_ship') }} then shipped_date
        end as business_date,
        _loaded_at
    from order_days
    union all
    select
        payment_date as business_date,
        _loaded_at
    from payment_days

),

last_load as (

    select cast(max(_loaded_at) as date) + 1 as last_date from business_days

),

final as (

    select
        max(case
            when business_days.business_date > last_load.last_date then null
            else business_days.business_date
        end) as data_through_date

    from business_days
    -- one row
    cross join last_load

)

select * from final
