{{ config(
    materialized='incremental',
    incremental_strategy='whole',
    unique_key='customer_key',
    on_schema_change='append_new_columns',
    pre_hook="{{ session_settings() }}",
    meta={'limited_to': {'column': 'customer_key', 'changed_in': ['fact_orders']}}
) }}
{%- set changed_customers = changed_keys('customer_key', ['fact_orders']) %}

with order_lines as (

    select * from {{ ref('fact_orders') }}
    where
        is_revenue
        and order_date is not null
    {%- if is_limited() %}
        and customer_key in (
            {{ changed_customers }}
        )
    {%- endif %}

),

final as (

    select
        -- keys
        customer_key,

        -- numbers
        count(distinct order_number) as order_count,
        count(distinct order_date) as order_day_count,
        cast(sum(revenue_amount) as numeric(18, 2)) as revenue_amount,

        -- dates
        min(order_date) as first_order_date,
        max(order_date) as last_order_date

    from order_lines
    group by customer_key

)

select * from final
