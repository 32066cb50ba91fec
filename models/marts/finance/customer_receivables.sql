{{ config(unique_key='customer_key') }}

{#- The shop keeps no terms of payment: an invoice leaves with the goods and is due in a month. -#}
{%- set days_to_pay = 30 -%}

with order_lines as (

    select * from {{ ref('fact_orders') }}
    where is_revenue

),

payments as (

    select * from {{ ref('fact_payments') }}

),

customers as (

    select * from {{ ref('dim_customers_current') }}

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

paid as (

    select
        customer_key,
        count(*) as payment_count,
        sum(payment_amount) as paid_amount,
        max(payment_date) as last_payment_date
    from payments
    group by customer_key

),

-- Payments name no order: they pay what is due first, and last what has not been shipped.
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
            when claims.claimed_amount <= coalesce(paid.paid_amount, 0) then 0
            when claims.claimed_amount - coalesce(paid.paid_amount, 0) < claims.order_amount
                then claims.claimed_amount - coalesce(paid.paid_amount, 0)
            else claims.order_amount
        end as open_amount

    from claims
    left join paid on claims.customer_key = paid.customer_key

),

owed as (

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
        owed.oldest_due_date,
        paid.last_payment_date,
        coalesce(owed.order_count, 0) as order_count,
        coalesce(paid.payment_count, 0) as payment_count,
        coalesce(owed.ordered_amount, 0) as ordered_amount,
        coalesce(paid.paid_amount, 0) as paid_amount,
        coalesce(owed.ordered_amount, 0) - coalesce(paid.paid_amount, 0) as balance_amount,
        coalesce(owed.open_amount, 0) as open_amount,
        coalesce(owed.overdue_1_to_30_amount, 0) as overdue_1_to_30_amount,
        coalesce(owed.overdue_31_to_60_amount, 0) as overdue_31_to_60_amount,
        coalesce(owed.overdue_61_to_90_amount, 0) as overdue_61_to_90_amount,
        coalesce(owed.overdue_over_90_amount, 0) as overdue_over_90_amount

    from customers
    left join owed on customers.customer_key = owed.customer_key
    left join paid on customers.customer_key = paid.customer_key

),

aged as (

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
        aged.customer_key,
        aged.customer_number,

        -- attributes
        aged.customer_name,
        aged.territory,

        -- numbers
        cast(aged.order_count as bigint) as order_count,
        cast(aged.payment_count as bigint) as payment_count,
        cast(aged.ordered_amount as numeric(18, 2)) as ordered_amount,
        cast(aged.paid_amount as numeric(18, 2)) as paid_amount,
        cast(aged.balance_amount as numeric(18, 2)) as balance_amount,
        cast(aged.open_amount as numeric(18, 2)) as open_amount,
        cast(aged.open_amount - aged.overdue_amount as numeric(18, 2)) as not_due_amount,
        cast(aged.overdue_amount as numeric(18, 2)) as overdue_amount,
        cast(aged.overdue_1_to_30_amount as numeric(18, 2)) as overdue_1_to_30_amount,
        cast(aged.overdue_31_to_60_amount as numeric(18, 2)) as overdue_31_to_60_amount,
        cast(aged.overdue_61_to_90_amount as numeric(18, 2)) as overdue_61_to_90_amount,
        cast(aged.overdue_over_90_amount as numeric(18, 2)) as overdue_over_90_amount,
        aged.credit_limit,
        {{ percent_of('aged.open_amount', 'aged.credit_limit') }} as credit_limit_used_percent,

        -- flags
        aged.open_amount > coalesce(aged.credit_limit, 0) as is_over_credit_limit,
        aged.is_deleted,

        -- dates
        aged.oldest_due_date,
        aged.last_payment_date,
        {{ as_of_date() }} as as_of_date,
        data_through.data_through_date

    from aged
    -- one row
    cross join data_through

)

select * from final
