{{ config(unique_key='popular_product_key') }}

with order_lines as (

    select * from {{ ref('fact_orders') }}
    where
        is_revenue
        and product_key <> '-1'
        and order_date > {{ as_of_date() }} - 365
        and order_date <= {{ as_of_date() }}

),

products as (

    select * from {{ ref('dim_products_current') }}

),

locations as (

    select * from {{ ref('dim_locations') }}

),

data_through as (

    select * from {{ ref('int_data_through') }}

),

product_sales as (

    select
        products.product_line,
        locations.region,
        order_lines.product_key,
        products.product_code,
        products.product_name,
        count(distinct order_lines.customer_key) as customer_count,
        count(*) as order_count,
        sum(order_lines.quantity_ordered) as unit_count,
        sum(order_lines.revenue_amount) as revenue_amount

    from order_lines
    left join products on order_lines.product_key = products.product_key
    left join locations on order_lines.location_key = locations.location_key
    group by
        products.product_line,
        locations.region,
        order_lines.product_key,
        products.product_code,
        products.product_name

),

ranked as (

    select
        *,
        row_number() over (
            partition by product_line, region
            order by unit_count desc, order_count desc, revenue_amount desc, product_key asc
        ) as popularity_rank
    from product_sales

),

final as (

    select
        -- keys
        {{ entity_key(['ranked.region', 'ranked.product_key']) }} as popular_product_key,
        ranked.product_key,
        ranked.product_code,

        -- attributes
        ranked.product_line,
        ranked.region,
        ranked.product_name,

        -- numbers
        cast(ranked.popularity_rank as integer) as popularity_rank,
        cast(ranked.customer_count as bigint) as customer_count,
        cast(ranked.order_count as bigint) as order_count,
        cast(ranked.unit_count as bigint) as unit_count,
        cast(ranked.revenue_amount as numeric(18, 2)) as revenue_amount,

        -- dates
        {{ as_of_date() }} as as_of_date,
        data_through.data_through_date

    from ranked
    -- one row
    cross join data_through
    where ranked.popularity_rank <= 10

)

select * from final
