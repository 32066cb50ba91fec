{{ config(
    materialized='incremental',
    incremental_strategy='whole',
    unique_key=['product_code', 'partner_product_code'],
    on_schema_change='append_new_columns',
    pre_hook="{{ session_settings() }}",
    meta={'goes_on': {'without': 'order_count = 0'}}
) }}
{%- set by_changes = goes_on() %}

with order_lines as (

    {{ lines_with_changes(ref('fact_orders'), by_changes) }}

),

-- Integers compare faster than codes, and there are millions of pairs to compare.
products as (

    select
        product_key,
        product_code,
        row_number() over (order by product_key) as product_number
    from {{ ref('dim_products_current') }}

),

-- How many lines an order has of a product now, and had after the last build: one or none.
order_products as (

    select
        order_lines.order_number,
        products.product_number,
        {%- if by_changes %}
        sum(order_lines.lines_now) as lines_now,
        sum(order_lines.lines_now - order_lines.change) as lines_before
        {%- else %}
        order_lines.lines_now,
        0 as lines_before
        {%- endif %}

    from order_lines
    left join products on order_lines.product_key = products.product_key
    where
        order_lines.is_revenue
        and order_lines.product_key <> '-1'
    {%- if by_changes %}
    group by
        order_lines.order_number,
        products.product_number
    {%- endif %}

),

-- Each pair once, and each product with itself.
pairs as (

    select
        order_products.product_number,
        partners.product_number as partner_number,
        sum(
            order_products.lines_now * partners.lines_now
            - order_products.lines_before * partners.lines_before
        ) as order_count

    from order_products
    -- each product at least meets itself
    inner join order_products as partners
        on
            order_products.order_number = partners.order_number
            and order_products.product_number <= partners.product_number
    group by
        order_products.product_number,
        partners.product_number

),

named as (

    select
        products.product_code,
        partners.product_code as partner_product_code,
        pairs.order_count

    from pairs
    left join products on pairs.product_number = products.product_number
    left join products as partners on pairs.partner_number = partners.product_number

),

final as (

    select
        -- keys
        named.product_code,
        named.partner_product_code,

        -- numbers
        cast(
            named.order_count {%- if by_changes %} + coalesce(known.order_count, 0) {%- endif %}
            as bigint
        ) as order_count

    from named
    {%- if by_changes %}
    left join {{ this }} as known
        on
            named.product_code = known.product_code
            and named.partner_product_code = known.partner_product_code
    {%- endif %}

)

select * from final
