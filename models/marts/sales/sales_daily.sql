{{ config(unique_key='sales_daily_key') }}

with order_lines as (

    select * from {{ ref('fact_orders') }}
    where is_revenue

),

products as (

    select * from {{ ref('dim_products') }}

),

locations as (

    select * from {{ ref('dim_locations') }}

),

dates as (

    select * from {{ ref('dim_dates') }}

),

data_through as (

    select * from {{ ref('int_data_through') }}

),

sold as (

    select
        order_lines.order_date_key,
        products.product_line,
        coalesce(locations.country_standard_name, locations.country) as country,
        locations.region,
        locations.territory,
        count(distinct order_lines.order_number) as order_count,
        count(*) as line_count,
        sum(order_lines.quantity_ordered) as unit_count,
        sum(order_lines.revenue_amount) as revenue_amount,
        sum(order_lines.gross_margin_amount) as gross_margin_amount,
        sum(order_lines.discount_amount) as discount_amount

    from order_lines
    left join products on order_lines.product_version_key = products.product_version_key
    left join locations on order_lines.location_key = locations.location_key
    group by
        order_lines.order_date_key,
        products.product_line,
        coalesce(locations.country_standard_name, locations.country),
        locations.region,
        locations.territory

),

-- Where a product line has ever been sold, which is what keeps the table bounded.
markets as (

    select distinct
        product_line,
        country,
        region,
        territory
    from sold

),

first_sale as (

    select min(order_date) as order_date from order_lines

),

cells as (

    select
        dates.date_key as order_date_key,
        dates.date_day as order_date,
        markets.product_line,
        markets.country,
        markets.region,
        markets.territory

    from dates
    -- one row each
    cross join first_sale
    cross join data_through
    cross join markets
    where
        dates.date_day >= first_sale.order_date
        and dates.date_day <= data_through.data_through_date

    union all

    -- lines whose order is gone
    select
        order_date_key,
        null as order_date,
        product_line,
        country,
        region,
        territory
    from sold
    where order_date_key = -1

),

final as (

    select
        -- keys
        {{ entity_key(['cells.order_date_key', 'cells.product_line', 'cells.country']) }}
            as sales_daily_key,
        cells.order_date_key,

        -- attributes
        cells.product_line,
        cells.country,
        cells.region,
        cells.territory,

        -- numbers
        cast(coalesce(sold.order_count, 0) as bigint) as order_count,
        cast(coalesce(sold.line_count, 0) as bigint) as line_count,
        cast(coalesce(sold.unit_count, 0) as bigint) as unit_count,
        cast(coalesce(sold.revenue_amount, 0) as numeric(18, 2)) as revenue_amount,
        cast(coalesce(sold.gross_margin_amount, 0) as numeric(18, 2)) as gross_margin_amount,
        cast(coalesce(sold.discount_amount, 0) as numeric(18, 2)) as discount_amount,

        -- dates
        cells.order_date

    from cells
    left join sold
        on
            cells.order_date_key = sold.order_date_key
            and cells.product_line = sold.product_line
            and cells.country = sold.country
            and cells.region = sold.region
            and cells.territory = sold.territory

)

select * from final
