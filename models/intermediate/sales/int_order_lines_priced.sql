with order_details as (

    select * from {{ ref('stg_classicmodels__order_details') }}

),

orders as (

    select * from {{ ref('int_orders_tracked') }}

),

products as (

    select * from {{ ref('stg_classicmodels__products') }}

),

-- A line whose order is gone stays, without dates and status.
lines as (

    select
        order_details.*,
        orders.customer_number,
        orders.order_status,
        orders.order_comments,
        orders.days_to_ship,
        orders.order_date,
        orders.required_date,
        orders.shipped_date,
        products.buy_price,
        products.msrp,
        cast(order_details.quantity_ordered * order_details.price_each as numeric(12, 2))
            as order_amount,
        cast(products.msrp - order_details.price_each as numeric(12, 2)) as discount_each,
        -- The one definition of revenue: every line except those of cancelled orders.
        not coalesce(orders.is_cancelled, false) as is_revenue,
        coalesce(orders.is_cancelled, false) as is_cancelled,
        coalesce(orders.is_shipped, false) as is_shipped,
        coalesce(orders.is_open, false) as is_open,
        coalesce(orders.is_late, false) as is_late

    from order_details
    left join orders on order_details.order_number = orders.order_number
    left join products on order_details.product_code = products.product_code

),

earned as (

    select
        *,
        cast(case when is_revenue then order_amount else 0 end as numeric(12, 2))
            as revenue_amount,
        cast(case when is_revenue then quantity_ordered * buy_price else 0 end as numeric(12, 2))
            as cost_amount
    from lines

),

margined as (

    select
        *,
        cast(revenue_amount - cost_amount as numeric(12, 2)) as gross_margin_amount,
        cast(quantity_ordered * discount_each as numeric(12, 2)) as discount_amount,
        {{ percent_of('discount_each', 'msrp') }} as discount_percent
    from earned

),

final as (

    select
        *,
        {{ percent_of('gross_margin_amount', 'revenue_amount') }} as gross_margin_percent
    from margined

)

select * from final
