{{ config(unique_key='popular_product_key') }}

with sales as (

    select * from {{ ref('int_product_sales_by_region') }}

),

products as (

    select * from {{ ref('dim_products_current') }}

),

data_through as (

    select * from {{ ref('int_data_through') }}

),

product_sales as (

    select
        sales.*,
        products.product_line,
        products.product_code,
        products.product_name

    from sales
    left join products on sales.product_key = products.product_key

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
        ranked.as_of_date,
        data_through.data_through_date

    from ranked
    -- one row
    cross join data_through
    where ranked.popularity_rank <= 10

)

select * from final
