{{ config(unique_key='product_key') }}

{%- set cover_days = 90 -%}

with order_lines as (

    select * from {{ ref('fact_orders') }}
    where is_revenue

),

products as (

    select * from {{ ref('dim_products_current') }}

),

data_through as (

    select * from {{ ref('int_data_through') }}

),

product_sales as (

    select
        product_key,
        count(*) as order_count,
        sum(quantity_ordered) as unit_count,
        sum(case
            when
                order_date > {{ as_of_date() }} - {{ cover_days }}
                and order_date <= {{ as_of_date() }}
                then quantity_ordered
            else 0
        end) as recent_unit_count,
        sum(revenue_amount) as revenue_amount,
        sum(case when msrp is not null then revenue_amount end) as revenue_with_msrp,
        sum(quantity_ordered * msrp) as msrp_amount,
        sum(gross_margin_amount) as gross_margin_amount,
        min(order_date) as first_order_date,
        max(order_date) as last_order_date
    from order_lines
    group by product_key

),

products_with_sales as (

    select
        products.product_key,
        products.product_code,
        products.product_name,
        products.product_line,
        products.msrp,
        products.quantity_in_stock,
        products.is_deleted,
        product_sales.product_key is null as is_never_sold,
        coalesce(product_sales.order_count, 0) as order_count,
        coalesce(product_sales.unit_count, 0) as unit_count,
        coalesce(product_sales.recent_unit_count, 0) as recent_unit_count,
        coalesce(product_sales.revenue_amount, 0) as revenue_amount,
        coalesce(product_sales.gross_margin_amount, 0) as gross_margin_amount,
        product_sales.revenue_with_msrp,
        product_sales.msrp_amount,
        product_sales.first_order_date,
        product_sales.last_order_date

    from products
    left join product_sales on products.product_key = product_sales.product_key

),

ranked as (

    select
        *,
        rank() over (order by revenue_amount desc) as revenue_rank,
        rank() over (partition by product_line order by revenue_amount desc)
            as revenue_rank_in_line,
        sum(revenue_amount) over () as all_revenue_amount,
        sum(revenue_amount) over (partition by product_line) as line_revenue_amount
    from products_with_sales

),

final as (

    select
        -- keys
        ranked.product_key,
        ranked.product_code,

        -- attributes
        ranked.product_name,
        ranked.product_line,

        -- numbers
        cast(case when not ranked.is_never_sold then ranked.revenue_rank end as integer)
            as revenue_rank,
        cast(case when not ranked.is_never_sold then ranked.revenue_rank_in_line end as integer)
            as revenue_rank_in_line,
        cast(ranked.order_count as bigint) as order_count,
        cast(ranked.unit_count as bigint) as unit_count,
        cast(ranked.revenue_amount as numeric(18, 2)) as revenue_amount,
        {{ percent_of('ranked.revenue_amount', 'ranked.all_revenue_amount') }}
            as revenue_share_percent,
        {{ percent_of('ranked.revenue_amount', 'ranked.line_revenue_amount') }}
            as revenue_share_in_line_percent,
        cast(ranked.gross_margin_amount as numeric(18, 2)) as gross_margin_amount,
        {{ percent_of('ranked.gross_margin_amount', 'ranked.revenue_amount') }}
            as gross_margin_percent,
        {{ quotient('ranked.revenue_amount * 100', 'ranked.unit_count * 100', 2) }}
            as average_price,
        ranked.msrp as msrp_now,
        {{ percent_of('ranked.revenue_with_msrp', 'ranked.msrp_amount') }} as price_to_msrp_percent,
        ranked.quantity_in_stock as quantity_in_stock_now,
        cast(ranked.recent_unit_count as bigint) as recent_unit_count,
        cast(case
            when ranked.recent_unit_count > 0 and ranked.quantity_in_stock >= 0
                then {{ integer_divide(
                    'cast(ranked.quantity_in_stock as bigint) * ' ~ cover_days,
                    'cast(ranked.recent_unit_count as bigint)'
                ) }}
        end as integer) as stock_cover_days,

        -- flags
        ranked.is_never_sold,
        ranked.is_deleted,

        -- dates
        ranked.first_order_date,
        ranked.last_order_date,
        {{ as_of_date() }} as as_of_date,
        data_through.data_through_date

    from ranked
    -- one row
    cross join data_through

)

select * from final
