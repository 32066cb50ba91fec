{#- Where known lines have moved to another product line or country, all are added up again. -#}
{{ config(
    unique_key='sales_daily_key',
    meta={'goes_on': {
        'without': 'line_count is null',
        'as_long_as_same': {
            'dim_products': ['product_version_key', 'product_line'],
            'dim_locations': [
                'location_key', 'country_standard_name', 'country', 'region', 'territory'
            ]
        }
    }}
) }}
{%- set by_changes = goes_on() -%}
{%- set sums = [
    'order_count',
    'line_count',
    'unit_count',
    'revenue_amount',
    'gross_margin_amount',
    'discount_amount'
] %}

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

),

added as (

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

),

{% if by_changes -%}
known as (

    select * from {{ this }}

),

-- Also the rows without sales.
sales as (

    select
        coalesce(known.order_date_key, added.order_date_key) as order_date_key,
        coalesce(known.product_line, added.product_line) as product_line,
        coalesce(known.country, added.country) as country,
        coalesce(known.region, added.region) as region,
        coalesce(known.territory, added.territory) as territory,
        {%- for sum in sums %}
        coalesce(known.{{ sum }}, 0) + coalesce(added.{{ sum }}, 0) as {{ sum }},
        {%- endfor %}
        known.order_date_key is null or added.order_date_key is not null as is_changed

    from known
    full outer join added
        on
            known.order_date_key = added.order_date_key
            and known.product_line = added.product_line
            and known.country = added.country

),
{%- else -%}
sales as (

    select
        *,
        true as is_changed
    from added

),
{%- endif %}

-- Each country in which a product line was ever sold: this bounds the size of the table.
markets as (

    select distinct
        product_line,
        country,
        region,
        territory
    from sales
    where line_count > 0

),

first_sale as (

    select min(dates.date_day) as order_date

    from sales
    left join dates on sales.order_date_key = dates.date_key
    -- one row; a stray day before the others would bring all days in between
    inner join plausible_days on dates.date_day >= plausible_days.first_date
    where sales.line_count > 0

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
        sales.line_count > 0
        and (
            dates.date_day is null
            or dates.date_day < first_sale.order_date
            or dates.date_day > data_through.data_through_date
        )

),

-- Those that change: also the rows that are over, which have no sums.
changed_days as (

    select
        coalesce(market_days.order_date_key, sales.order_date_key) as order_date_key,
        coalesce(market_days.product_line, sales.product_line) as product_line,
        coalesce(market_days.country, sales.country) as country,
        market_days.region,
        market_days.territory,
        {%- for sum in sums %}
        case
            when market_days.country is not null then coalesce(sales.{{ sum }}, 0)
        end as {{ sum }},
        {%- endfor %}
        market_days.order_date

    from market_days
    full outer join sales
        on
            market_days.order_date_key = sales.order_date_key
            and market_days.product_line = sales.product_line
            and market_days.country = sales.country
    where
        sales.country is null
        or sales.is_changed
        or market_days.country is null

),

final as (

    select
        -- keys
        {{ entity_key(['order_date_key', 'product_line', 'country']) }} as sales_daily_key,
        order_date_key,

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
        cast(gross_margin_amount as numeric(18, 2)) as gross_margin_amount,
        cast(discount_amount as numeric(18, 2)) as discount_amount,

        -- dates
        order_date

    from changed_days

)

select * from final
