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

plausible_days as (

    select * from {{ ref('int_plausible_days') }}

),

sales as (

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

-- Each country in which a product line was ever sold: this bounds the size of the table.
markets as (

    select distinct
        product_line,
        country,
        region,
        territory
    from sales

),

first_sale as (

    select min(order_lines.order_date) as order_date

    from order_lines
    -- one row; a stray day before the others would bring all days in between
    inner join plausible_days on order_lines.order_date >= plausible_days.first_date

),

market_days as (

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

    -- stray days, and lines whose order is gone
    select
        sales.order_date_key,
        dates.date_day as order_date,
        sales.product_line,
        sales.country,
        sales.region,
        sales.territory

    from sales
    left join dates on sales.order_date_key = dates.date_key
    -- one row each
    cross join first_sale
    cross join data_through
    where
        dates.date_day is null
        or dates.date_day < first_sale.order_date
        or dates.date_day > data_through.data_through_date

),

final as (

    select
        -- keys
        {{ entity_key([
            'market_days.order_date_key', 'market_days.product_line', 'market_days.country'
        ]) }} as sales_daily_key,
        market_days.order_date_key,

        -- attributes
        market_days.product_line,
        market_days.country,
        market_days.region,
        market_days.territory,

        -- numbers
        cast(coalesce(sales.order_count, 0) as bigint) as order_count,
        cast(coalesce(sales.line_count, 0) as bigint) as line_count,
        cast(coalesce(sales.unit_count, 0) as bigint) as unit_count,
        cast(coalesce(sales.revenue_amount, 0) as numeric(18, 2)) as revenue_amount,
        cast(coalesce(sales.gross_margin_amount, 0) as numeric(18, 2)) as gross_margin_amount,
        cast(coalesce(sales.discount_amount, 0) as numeric(18, 2)) as discount_amount,

        -- dates
        market_days.order_date

    from market_days
    left join sales
        on
            market_days.order_date_key = sales.order_date_key
            and market_days.product_line = sales.product_line
            and market_days.country = sales.country
            and market_days.region = sales.region
            and market_days.territory = sales.territory

)

select * from final
