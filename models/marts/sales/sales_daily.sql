{{ config(unique_key='sales_daily_key') }}

{#- Where known lines have moved to another product line or country, all are added up again. -#}
{%- set by_changes = built_through() and not (
    has_other_values(ref('dim_products'), ['product_version_key', 'product_line'])
    or has_other_values(
        ref('dim_locations'),
        ['location_key', 'country_standard_name', 'country', 'region', 'territory']
    )
) %}

with order_lines as (

    {{ lines_with_changes(ref('fact_orders'), by_changes) }}

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

-- Each order once for each of its product lines: how many lines it has now, and how much more of
-- everything than after the last build.
orders as (

    select
        order_lines.order_number,
        order_lines.order_date_key,
        order_lines.location_key,
        products.product_line,
        sum(order_lines.lines_now) as lines_now,
        sum(order_lines.change) as line_count,
        sum(order_lines.change * order_lines.quantity_ordered) as unit_count,
        sum(order_lines.change * order_lines.revenue_amount) as revenue_amount,
        sum(order_lines.change * order_lines.gross_margin_amount) as gross_margin_amount,
        sum(order_lines.change * order_lines.discount_amount) as discount_amount

    from order_lines
    left join products on order_lines.product_version_key = products.product_version_key
    where order_lines.is_revenue
    group by
        order_lines.order_number,
        order_lines.order_date_key,
        order_lines.location_key,
        products.product_line

),

added_sales as (

    select
        orders.order_date_key,
        orders.product_line,
        coalesce(locations.country_standard_name, locations.country) as country,
        locations.region,
        locations.territory,
        case when orders.lines_now > 0 then 1 else 0 end
        - case when orders.lines_now > orders.line_count then 1 else 0 end as order_count,
        orders.line_count,
        orders.unit_count,
        orders.revenue_amount,
        orders.gross_margin_amount,
        orders.discount_amount

    from orders
    left join locations on orders.location_key = locations.location_key
    {%- if by_changes %}

    union all

    -- after the last build
    select
        order_date_key,
        product_line,
        country,
        region,
        territory,
        order_count,
        line_count,
        unit_count,
        revenue_amount,
        gross_margin_amount,
        discount_amount
    from {{ this }}
    {%- endif %}

),

sales as (

    select
        order_date_key,
        product_line,
        country,
        region,
        territory,
        sum(order_count) as order_count,
        sum(line_count) as line_count,
        sum(unit_count) as unit_count,
        sum(revenue_amount) as revenue_amount,
        sum(gross_margin_amount) as gross_margin_amount,
        sum(discount_amount) as discount_amount
    from added_sales
    group by
        order_date_key,
        product_line,
        country,
        region,
        territory
    having sum(line_count) > 0

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

    select min(dates.date_day) as order_date

    from sales
    left join dates on sales.order_date_key = dates.date_key
    -- one row; a stray day before the others would bring all days in between
    inner join plausible_days on dates.date_day >= plausible_days.first_date

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
