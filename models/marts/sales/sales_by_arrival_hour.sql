{#- Where a known order was first seen at another time, all are added up again; also where lines are
known without an order, which may have come. -#}
{{ config(
    unique_key='arrival_hour_key',
    meta={'goes_on': {
        'without': 'order_count = 0',
        'as_long_as_same': {
            'fact_order_life': ['order_number', 'first_seen_at', 'is_first_seen_in_log']
        },
        'unless': 'arrived_hour_at is null'
    }}
) }}
{%- set by_changes = goes_on() %}

with order_lines as (

    {{ lines_with_changes(ref('fact_orders'), by_changes) }}

),

order_histories as (

    select * from {{ ref('fact_order_life') }}

),

-- How many lines an order has now, and how much more of everything than after the last build.
orders as (

    select
        order_number,
        sum(lines_now) as lines_now,
        sum(change) as line_count,
        sum(change * quantity_ordered) as unit_count,
        sum(change * revenue_amount) as revenue_amount
    from order_lines
    where is_revenue
    group by order_number

),

first_load as (

    select min(first_seen_at) as first_seen_at from order_histories
    where not is_first_seen_in_log

),

arrivals as (

    select
        cast({{ dbt.date_trunc('hour', 'order_histories.first_seen_at') }} as timestamp)
            as arrived_hour_at,
        coalesce(
            order_histories.first_seen_at = first_load.first_seen_at
            and not order_histories.is_first_seen_in_log,
            false
        ) as is_first_load,
        case when orders.lines_now > 0 then 1 else 0 end
        - case when orders.lines_now > orders.line_count then 1 else 0 end as order_count,
        orders.line_count,
        orders.unit_count,
        orders.revenue_amount

    from orders
    left join order_histories on orders.order_number = order_histories.order_number
    -- one row
    cross join first_load
    {%- if by_changes %}

    union all

    -- after the last build
    select
        arrived_hour_at,
        is_first_load,
        order_count,
        line_count,
        unit_count,
        revenue_amount
    from {{ this }}
    {%- endif %}

),

summed as (

    select
        arrived_hour_at,
        is_first_load,
        sum(order_count) as order_count,
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
