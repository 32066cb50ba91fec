{{ config(
    unique_key='customer_key',
    meta={'limited_to': {
        'column': 'customer_key',
        'changed_in': ['fact_orders', 'fact_payments', 'dim_customers'],
        'follows_day': true
    }}
) }}
{%- set changed_customers = changed_keys(
    'customer_key', ['fact_orders', 'fact_payments', 'dim_customers']
) -%}

{#- The shop keeps no terms of payment: an invoice leaves with the goods and is due in a month. -#}
{%- set days_to_pay = 30 -%}

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

customers as (

    select * from {{ ref('dim_customers_current') }}
    {%- if is_limited() %}
    where customer_key in (select changed_customers.customer_key from changed_customers)
    {%- endif %}

),

data_through as (

    select * from {{ ref('int_data_through') }}

),

orders as (

    select
        customer_key,
        order_number,
        order_date,
        shipped_date + {{ days_to_pay }} as due_date,
        sum(revenue_amount) as order_amount
    from order_lines
    group by
        customer_key,
        order_number,
        order_date,
        shipped_date

),

customer_payments as (

    select
        customer_key,
        count(*) as payment_count,
        sum(payment_amount) as paid_amount,
        max(payment_date) as last_payment_date
    from payments
    group by customer_key

),

-- Payments name no order. They pay first what is due first, and last what is not shipped yet.
claims as (

    select
        *,
        sum(order_amount) over (
            partition by customer_key
            order by
                coalesce(due_date, cast('9999-12-31' as date)),
                coalesce(order_date, cast('9999-12-31' as date)),
                order_number
            rows between unbounded preceding and current row
        ) as claimed_amount
    from orders

),

open_claims as (

    select
        claims.customer_key,
        claims.due_date,
        claims.order_amount,
        {{ as_of_date() }} - claims.due_date as days_overdue,
        case
            when claims.claimed_amount <= coalesce(customer_payments.paid_amount, 0) then 0
            when
                claims.claimed_amount - coalesce(customer_payments.paid_amount, 0)
                < claims.order_amount
                then claims.claimed_amount - coalesce(customer_payments.paid_amount, 0)
            else claims.order_amount
        end as open_amount

    from claims
    left join customer_payments on claims.customer_key = customer_payments.customer_key

),

open_totals as (

    select
        customer_key,
        count(*) as order_count,
        sum(order_amount) as ordered_amount,
        sum(open_amount) as open_amount,
        sum(case when days_overdue between 1 and 30 then open_amount else 0 end)
            as overdue_1_to_30_amount,
        sum(case when days_overdue between 31 and 60 then open_amount else 0 end)
            as overdue_31_to_60_amount,
        sum(case when days_overdue between 61 and 90 then open_amount else 0 end)
            as overdue_61_to_90_amount,
        sum(case when days_overdue > 90 then open_amount else 0 end) as overdue_over_90_amount,
        min(case when open_amount > 0 then due_date end) as oldest_due_date
    from open_claims
    group by customer_key

),

balances as (

    select
        customers.customer_key,
        customers.customer_number,
        customers.customer_name,
        customers.territory,
        customers.credit_limit,
        customers.is_deleted,
        open_totals.oldest_due_date,
        customer_payments.last_payment_date,
        coalesce(open_totals.order_count, 0) as order_count,
        coalesce(customer_payments.payment_count, 0) as payment_count,
        coalesce(open_totals.ordered_amount, 0) as ordered_amount,
        coalesce(customer_payments.paid_amount, 0) as paid_amount,
        coalesce(open_totals.ordered_amount, 0) - coalesce(customer_payments.paid_amount, 0)
            as balance_amount,
        coalesce(open_totals.open_amount, 0) as open_amount,
        coalesce(open_totals.overdue_1_to_30_amount, 0) as overdue_1_to_30_amount,
        coalesce(open_totals.overdue_31_to_60_amount, 0) as overdue_31_to_60_amount,
        coalesce(open_totals.overdue_61_to_90_amount, 0) as overdue_61_to_90_amount,
        coalesce(open_totals.overdue_over_90_amount, 0) as overdue_over_90_amount

    from customers
    left join open_totals on customers.customer_key = open_totals.customer_key
    left join customer_payments on customers.customer_key = customer_payments.customer_key

),

receivables as (

    select
        *,
        overdue_1_to_30_amount
        + overdue_31_to_60_amount
        + overdue_61_to_90_amount
        + overdue_over_90_amount as overdue_amount
    from balances

),

final as (

    select
        -- keys
        receivables.customer_key,
        receivables.customer_number,

        -- attributes
        receivables.customer_name,
        receivables.territory,

        -- numbers
        cast(receivables.order_count as bigint) as order_count,
        cast(receivables.payment_count as bigint) as payment_count,
        cast(receivables.ordered_amount as numeric(18, 2)) as ordered_amount,
        cast(receivables.paid_amount as numeric(18, 2)) as paid_amount,
        cast(receivables.balance_amount as numeric(18, 2)) as balance_amount,
        cast(receivables.open_amount as numeric(18, 2)) as open_amount,
        cast(receivables.open_amount - receivables.overdue_amount as numeric(18, 2))
            as not_due_amount,
        cast(receivables.overdue_amount as numeric(18, 2)) as overdue_amount,
        cast(receivables.overdue_1_to_30_amount as numeric(18, 2)) as overdue_1_to_30_amount,
        cast(receivables.overdue_31_to_60_amount as numeric(18, 2)) as overdue_31_to_60_amount,
        cast(receivables.overdue_61_to_90_amount as numeric(18, 2)) as overdue_61_to_90_amount,
        cast(receivables.overdue_over_90_amount as numeric(18, 2)) as overdue_over_90_amount,
        receivables.credit_limit,
        {{ percent_of('receivables.open_amount', 'receivables.credit_limit') }}
            as credit_limit_used_percent,

        -- flags
        -- A limit that is not known is not exceeded.
        coalesce(receivables.open_amount > receivables.credit_limit, false) as is_over_credit_limit,
        receivables.is_deleted,

        -- dates
        receivables.oldest_due_date,
        receivables.last_payment_date,
        {{ as_of_date() }} as as_of_date,
        data_through.data_through_date

    from receivables
    -- one row
    cross join data_through

)

select * from final
