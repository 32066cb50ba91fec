{{ config(unique_key='customer_key') }}

with customer_orders as (

    select * from {{ ref('int_customer_orders_counted') }}

),

customers as (

    select * from {{ ref('dim_customers_current') }}
    where customer_key <> '-1'

),

data_through as (

    select * from {{ ref('int_data_through') }}

),

buyers as (

    select
        customer_orders.*,
        customer_orders.last_order_date - customer_orders.first_order_date as days_ordering,
        case
            when customer_orders.last_order_date < {{ as_of_date() }}
                then {{ as_of_date() }} - customer_orders.last_order_date
            else 0
        end as days_since_last_order

    from customer_orders
    -- leaves out the unknown customer, who stands for many
    inner join customers on customer_orders.customer_key = customers.customer_key

),

-- What customers with one day of orders are compared with.
buyer_averages as (

    select
        count(*) as buyer_count,
        {{ quotient('sum(days_ordering)', 'sum(order_day_count - 1)', 1) }} as days_between_orders
    from buyers

),

ranked as (

    select
        buyers.*,
        buyer_averages.buyer_count,
        {{ quotient('buyers.days_ordering', '(buyers.order_day_count - 1)', 1) }}
            as days_between_orders,
        buyer_averages.days_between_orders as usual_days_between_orders,
        rank() over (order by buyers.last_order_date desc) as recency_rank,
        rank() over (order by buyers.order_count desc) as frequency_rank,
        rank() over (order by buyers.revenue_amount desc) as value_rank

    from buyers
    -- one row
    cross join buyer_averages

),

-- Fifths of the buyers; buyers with equal figures get the same score.
scored as (

    select
        *,
        {%- for measure in ['recency', 'frequency', 'value'] %}
        cast(
            5 - {{ integer_divide('(' ~ measure ~ '_rank - 1) * 5', 'buyer_count') }} as integer
        ) as {{ measure }}_score,
        {%- endfor %}
        coalesce(days_between_orders, usual_days_between_orders) as expected_days
    from ranked

),

final as (

    select
        -- keys
        customers.customer_key,
        customers.customer_number,

        -- attributes
        customers.customer_name,
        customers.territory,
        cast(case
            when scored.customer_key is null then 'Never ordered'
            when scored.order_count = 1 and scored.recency_score >= 4 then 'New'
            when
                scored.recency_score >= 4
                and scored.frequency_score >= 4
                and scored.value_score >= 4
                then 'Champions'
            when scored.recency_score >= 3 and scored.frequency_score >= 4 then 'Loyal'
            when scored.recency_score >= 4 then 'Promising'
            when
                scored.recency_score <= 2
                and (scored.frequency_score >= 4 or scored.value_score >= 4)
                then 'At risk'
            when scored.recency_score <= 2 then 'Hibernating'
            else 'Needs attention'
        end as varchar(15)) as segment,
        cast(case
            when scored.customer_key is null then null
            when scored.days_since_last_order * 2 <= scored.expected_days * 3 then 'Low'
            when scored.days_since_last_order <= scored.expected_days * 3 then 'Medium'
            when scored.expected_days is not null then 'High'
        end as varchar(6)) as churn_risk,

        -- numbers
        scored.recency_score,
        scored.frequency_score,
        scored.value_score,
        cast(coalesce(scored.order_count, 0) as bigint) as order_count,
        cast(coalesce(scored.revenue_amount, 0) as numeric(18, 2)) as revenue_amount,
        {{ quotient('scored.revenue_amount * 100', 'scored.order_count * 100', 2) }}
            as average_order_amount,
        scored.days_between_orders,
        cast(scored.days_since_last_order as integer) as days_since_last_order,

        -- flags
        customers.is_deleted,

        -- dates
        scored.first_order_date,
        scored.last_order_date,
        {{ as_of_date() }} as as_of_date,
        data_through.data_through_date

    from customers
    left join scored on customers.customer_key = scored.customer_key
    -- one row
    cross join data_through

)

select * from final
