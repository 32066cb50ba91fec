{{ config(
    unique_key=['customer_key', 'product_key', 'order_date'],
    meta={'limited_to': {'column': 'customer_key', 'changed_in': ['fact_orders']}},
    indexes=index_on(['customer_key'])
) }}
{%- set changed_customers = changed_keys('customer_key', ['fact_orders']) %}

with order_lines as (

    select * from {{ ref('fact_orders') }}
    where
        is_revenue
        and customer_key <> '-1'
        and product_key <> '-1'
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
        product_key,
        customer_number,
        product_code,

        -- numbers
        cast(sum(quantity_ordered) as bigint) as unit_count,

        -- dates
        order_date

    from order_lines
    group by
        customer_key,
        product_key,
        customer_number,
        product_code,
        order_date

)

select * from final
