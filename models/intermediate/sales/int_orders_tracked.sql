with orders as (

    select * from {{ ref('stg_classicmodels__orders') }}

),

final as (

    select
        *,

        -- numbers
        cast(shipped_date - order_date as integer) as days_to_ship,

        -- flags
        coalesce(order_status = 'Cancelled', false) as is_cancelled,
        shipped_date is not null as is_shipped,
        shipped_date is null
        and coalesce(order_status <> 'Cancelled', true) as is_open,
        coalesce(shipped_date > required_date, false) as is_late

    from orders

)

select * from final
