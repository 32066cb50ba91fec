{{ config(unique_key='sales_by_hour_key', tags='live') }}

with order_lines as (

    select * from {{ ref('fact_orders') }}
    where
        is_revenue
        and order_date between {{ as_of_date() }} - 29 and {{ as_of_date() }}

),

-- An order has the same day there.
order_histories as (

    select * from {{ ref('fact_order_life') }}
    where
        is_first_seen_in_log
        and order_date between {{ as_of_date() }} - 29 and {{ as_of_date() }}

),

products as (

    select * from {{ ref('dim_products') }}

),

locations as (

    select * from {{ ref('dim_locations') }}

),

-- Each order once for each of its product lines.
orders as (

    select
        order_lines.order_number,
        order_lines.order_date,
        order_lines.location_key,
        products.product_line,
        count(*) as line_count,
        sum(order_lines.quantity_ordered) as unit_count,
        sum(order_lines.revenue_amount) as revenue_amount

    from order_lines
    left join products on order_lines.product_version_key = products.product_version_key
    group by
        order_lines.order_number,
        order_lines.order_date,
        order_lines.location_key,
        products.product_line

),

sales as (

    select
        orders.order_date,
        cast({{ dbt.date_trunc('hour', 'order_histories.first_seen_at') }} as timestamp)
            as sales_hour_at,
        orders.product_line,
        coalesce(locations.country_standard_name, locations.country) as country,
        locations.region,
        locations.territory,
        orders.line_count,
        orders.unit_count,
        orders.revenue_amount

    from orders
    left join order_histories on orders.order_number = order_histories.order_number
    left join locations on orders.location_key = locations.location_key

),

summed as (

    select
        order_date,
        sales_hour_at,
        product_line,
        country,
        region,
        territory,
        count(*) as order_count,
        sum(line_count) as line_count,
        sum(unit_count) as unit_count,
        sum(revenue_amount) as revenue_amount
    from sales
    group by
        order_date,
        sales_hour_at,
        product_line,
        country,
        region,
        territory

),

final as (

    select
        -- keys
        {{ entity_key(['order_date', 'sales_hour_at', 'product_line', 'country']) }}
            as sales_by_hour_key,

        -- attributes
        product_line,
        country,
        region,
        territory,

        -- numbers
        cast(order_count as bigint) as order_count,
        cast(line_count as bigint) as line_count,
        cast(unit_count as bigint) as unit_count,
        cast(revenue_amount as numeric(18, 2)) as revenue_amount,

        -- flags
        sales_hour_at is not null as is_hour_known,

        -- dates
        order_date,
        sales_hour_at,
        {{ as_of_date() }} as as_of_date

    from summed

)

select * from final
