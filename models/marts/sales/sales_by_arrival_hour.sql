{{ config(unique_key='arrival_hour_key') }}

with order_lines as (

    select * from {{ ref('fact_orders') }}
    where is_revenue

),

order_histories as (

    select * from {{ ref('fact_order_life') }}

),

orders as (

    select
        order_number,
        count(*) as line_count,
        sum(quantity_ordered) as unit_count,
        sum(revenue_amount) as revenue_amount
    from order_lines
    group by order_number

),

first_load as (

    select min(first_seen_at) as first_seen_at from order_histories

),

arrivals as (

    select
        cast({{ dbt.date_trunc('hour', 'order_histories.first_seen_at') }} as timestamp)
            as arrived_hour_at,
        coalesce(order_histories.first_seen_at = first_load.first_seen_at, false) as is_first_load,
        orders.line_count,
        orders.unit_count,
        orders.revenue_amount

    from orders
    left join order_histories on orders.order_number = order_histories.order_number
    -- one row
    cross join first_load

),

summed as (

    select
        arrived_hour_at,
        is_first_load,
        count(*) as order_count,
        sum(line_count) as line_count,
        sum(unit_count) as unit_count,
        sum(revenue_amount) as revenue_amount
    from arrivals
    group by
        arrived_hour_at,
        is_first_load

),

final as (

    select
        -- keys
        {{ entity_key(['summed.is_first_load', 'summed.arrived_hour_at']) }} as arrival_hour_key,

        -- numbers
        cast(extract(hour from summed.arrived_hour_at) as integer) as hour_of_day,
        cast(summed.order_count as bigint) as order_count,
        cast(summed.line_count as bigint) as line_count,
        cast(summed.unit_count as bigint) as unit_count,
        cast(summed.revenue_amount as numeric(18, 2)) as revenue_amount,

        -- flags
        summed.is_first_load,

        -- dates
        cast(summed.arrived_hour_at as date) as arrived_date,
        summed.arrived_hour_at

    from summed

)

select * from final
