{{ config(
    materialized='incremental',
    incremental_strategy='whole',
    unique_key=['region', 'product_key'],
    on_schema_change='append_new_columns',
    pre_hook="{{ session_settings() }}",
    meta={
        'keeps_changes': true,
        'goes_on': {
            'without': 'order_count = 0',
            'as_long_as_same': {'dim_locations': ['location_key', 'region']},
            'follows_day': true
        }
    }
) }}
{%- set by_changes = goes_on() %}

with order_lines as (

    {{ lines_with_changes(ref('fact_orders'), by_changes, key='customer_key') }}

),

locations as (

    select * from {{ ref('dim_locations') }}

),

-- Each customer once for each product and region: how many lines there are now, and how much more
-- of everything than after the last build.
customers as (

    select
        locations.region,
        order_lines.product_key,
        order_lines.customer_key,
        sum(order_lines.lines_now) as lines_now,
        sum(order_lines.change) as line_count,
        sum(order_lines.change * order_lines.quantity_ordered) as unit_count,
        sum(order_lines.change * order_lines.revenue_amount) as revenue_amount

    from order_lines
    left join locations on order_lines.location_key = locations.location_key
    where
        order_lines.is_revenue
        and order_lines.product_key <> '-1'
        and order_lines.order_date > {{ as_of_date() }} - 365
        and order_lines.order_date <= {{ as_of_date() }}
    group by
        locations.region,
        order_lines.product_key,
        order_lines.customer_key

),

added as (

    select
        region,
        product_key,
        sum(
            case when lines_now > 0 then 1 else 0 end
            - case when lines_now > line_count then 1 else 0 end
        ) as customer_count,
        sum(line_count) as order_count,
        sum(unit_count) as unit_count,
        sum(revenue_amount) as revenue_amount
    from customers
    group by
        region,
        product_key

),

final as (

    select
        -- keys
        added.region,
        added.product_key,

        -- numbers
        {%- for name, type in [
            ('customer_count', 'bigint'),
            ('order_count', 'bigint'),
            ('unit_count', 'bigint'),
            ('revenue_amount', 'numeric(18, 2)')
        ] %}
        cast(
            added.{{ name }} {%- if by_changes %} + coalesce(known.{{ name }}, 0) {%- endif %}
            as {{ type }}
        ) as {{ name }},
        {%- endfor %}

        -- dates
        {{ as_of_date() }} as as_of_date

    from added
    {%- if by_changes %}
    left join {{ this }} as known
        on
            added.region = known.region
            and added.product_key = known.product_key
    {%- endif %}

)

select * from final
