{{ config(
    unique_key='payment_match_key',
    meta={'limited_to': {
        'column': 'customer_key', 'changed_in': ['fact_orders', 'fact_payments']
    }}
) }}
{%- set changed_customers = changed_keys('customer_key', ['fact_orders', 'fact_payments']) %}

with {% if is_limited() -%}
changed_customers as (

    {{ changed_customers }}

),

{% endif -%}

order_lines as (

    select * from {{ ref('fact_orders') }}
    where
        is_revenue
    {%- if is_limited() %}
        and customer_key in (select changed_customers.customer_key from changed_customers)
    {%- endif %}

),

payments as (

    select * from {{ ref('fact_payments') }}
    {%- if is_limited() %}
    where customer_key in (select changed_customers.customer_key from changed_customers)
    {%- endif %}

),

orders as (

    select
        customer_key,
        order_number,
        order_date,
        sum(revenue_amount) as order_amount
    from order_lines
    group by
        customer_key,
        order_number,
        order_date

),

-- Where several orders have the same amount, the first one matches the first payment.
numbered_orders as (

    select
        *,
        {{ entity_key(['order_number']) }} as order_key,
        row_number() over (
            partition by customer_key, order_amount
            order by coalesce(order_date, cast('9999-12-31' as date)), order_number
        ) as occurrence
    from orders
    where order_amount > 0

),

numbered_payments as (

    select
        *,
        row_number() over (
            partition by customer_key, payment_amount
            order by coalesce(payment_date, cast('9999-12-31' as date)), payment_key
        ) as occurrence
    from payments

),

matched as (

    select
        orders.order_number,
        orders.order_date,
        orders.order_amount,
        payments.payment_key,
        payments.check_number,
        payments.payment_date,
        payments.payment_amount,
        coalesce(orders.order_key, payments.payment_key) as payment_match_key,
        coalesce(orders.customer_key, payments.customer_key) as customer_key

    from numbered_orders as orders
    full outer join numbered_payments as payments
        on
            orders.customer_key = payments.customer_key
            and orders.order_amount = payments.payment_amount
            and orders.occurrence = payments.occurrence

),

final as (

    select
        -- keys
        matched.payment_match_key,
        matched.customer_key,
        matched.payment_key,
        matched.order_number,
        matched.check_number,

        -- attributes
        cast(
            case
                when matched.payment_key is null then 'Order without payment'
                when matched.order_number is null then 'Payment without order'
                else 'Matched'
            end
            as varchar(21)
        ) as match_status,

        -- numbers
        cast(coalesce(matched.order_amount, 0) as numeric(18, 2)) as order_amount,
        cast(coalesce(matched.payment_amount, 0) as numeric(18, 2)) as payment_amount,
        cast(
            coalesce(matched.order_amount, 0) - coalesce(matched.payment_amount, 0)
            as numeric(18, 2)
        ) as difference_amount,
        cast(matched.payment_date - matched.order_date as integer) as days_to_pay,

        -- dates
        matched.order_date,
        matched.payment_date

    from matched

)

select * from final
