{{ config(
    incremental_strategy='changed_rows',
    unique_key='order_line_key',
    dist='customer_key',
    sort='order_date',
    tags='live',
    meta={
        'keeps_changes': true,
        'key_has': 'order_number',
        'tombstones': {
            'model': 'stg_classicmodels__tombstones', 'key': ['order_number', 'product_code']
        }
    },
    post_hook=vacuum_when_made(),
    indexes=index_on([
        '_loaded_at', 'order_line_key', ['order_number', 'order_line_number'], 'customer_key',
        'order_date'
    ])
) }}

{%- set gone_orders -%}
    select
        order_number,
        max(_loaded_at) as _loaded_at
    from {{ ref('stg_classicmodels__tombstones') }}
    where entity = 'orders'
    group by order_number
{%- endset %}
{%- if is_incremental() -%}
{%- set changed_orders = changed_since_last_build(
    'order_number',
    'order_date',
    rows=[
        ref('stg_classicmodels__order_details'),
        ref('int_orders_tracked'),
        '(' ~ gone_orders ~ ') as gone_orders',
    ],
    versions={
        'customer_version_key': [ref('dim_customers'), 'customer_number'],
        'employee_version_key': [ref('dim_employees'), 'employee_key'],
        'product_version_key': [ref('dim_products'), 'product_code'],
    }
) -%}
{#- By number where there are few: no warehouse carries a subquery into the views. -#}
{%- set by_number = is_one_of('order_number', changed_orders) if built_through() else '' -%}
{%- set has_changed = by_number
    or 'order_number in (select changed_orders.order_number from changed_orders)' -%}
{%- endif %}

with customers as (

    select * from {{ ref('dim_customers') }}

),

employees as (

    select * from {{ ref('dim_employees') }}

),

products as (

    select * from {{ ref('dim_products') }}

),

gone_orders as (

    {{ gone_orders }}

),

{% if is_incremental() and not by_number -%}
changed_orders as (

    {{ changed_orders }}

),

{% endif -%}

order_details as (

    select * from {{ ref('stg_classicmodels__order_details') }}
    {%- if is_incremental() %}
    where {{ has_changed }}
    {%- endif %}

),

orders as (

    select * from {{ ref('int_orders_tracked') }}
    {%- if is_incremental() %}
    where {{ has_changed }}
    {%- endif %}

),

-- Each line with the versions that were valid on the day of its order. A line whose order is gone
-- stays, without dates and status.
order_lines as (

    select
        -- keys
        {{ entity_key(['order_details.order_number', 'order_details.product_code']) }}
            as order_line_key,
        coalesce(customers.customer_key, '-1') as customer_key,
        coalesce(customers.customer_version_key, '-1') as customer_version_key,
        coalesce(customers.location_key, '-1') as location_key,
        coalesce(employees.employee_key, '-1') as employee_key,
        coalesce(employees.employee_version_key, '-1') as employee_version_key,
        coalesce(employees.office_key, '-1') as office_key,
        coalesce(products.product_key, '-1') as product_key,
        coalesce(products.product_version_key, '-1') as product_version_key,
        {{ date_key('orders.order_date') }} as order_date_key,
        {{ date_key('orders.required_date') }} as required_date_key,
        {{ date_key('orders.shipped_date') }} as shipped_date_key,
        order_details.order_number,
        order_details.order_line_number,
        order_details.product_code,
        orders.customer_number,

        -- attributes
        orders.order_status,
        orders.order_comments,

        -- numbers
        order_details.quantity_ordered,
        order_details.price_each,
        products.buy_price,
        products.msrp,
        cast(order_details.quantity_ordered * order_details.price_each as numeric(12, 2))
            as order_amount,
        cast(products.msrp - order_details.price_each as numeric(12, 2)) as discount_each,
        orders.days_to_ship,

        -- flags
        -- The one definition of revenue: every line except those of cancelled orders.
        not coalesce(orders.is_cancelled, false) as is_revenue,
        coalesce(orders.is_cancelled, false) as is_cancelled,
        coalesce(orders.is_shipped, false) as is_shipped,
        coalesce(orders.is_open, false) as is_open,
        coalesce(orders.is_late, false) as is_late,

        -- dates
        orders.order_date,
        orders.required_date,
        orders.shipped_date,

        -- metadata
        greatest(
            order_details._loaded_at, orders._loaded_at, gone_orders._loaded_at,
            customers._loaded_at, employees._loaded_at, products._loaded_at
        ) as _loaded_at

    from order_details
    left join orders on order_details.order_number = orders.order_number
    left join gone_orders on order_details.order_number = gone_orders.order_number
    left join customers
        on
            orders.customer_number = customers.customer_number
            and {{ is_valid('customers', version_day('orders.order_date')) }}
    left join employees
        on
            customers.employee_key = employees.employee_key
            and {{ is_valid('employees', version_day('orders.order_date')) }}
    left join products
        on
            order_details.product_code = products.product_code
            and {{ is_valid('products', version_day('orders.order_date')) }}

),

lines_with_revenue as (

    select
        *,
        cast(case when is_revenue then order_amount else 0 end as numeric(12, 2))
            as revenue_amount,
        cast(case when is_revenue then quantity_ordered * buy_price else 0 end as numeric(12, 2))
            as cost_amount
    from order_lines

),

lines_with_margin as (

    select
        *,
        cast(revenue_amount - cost_amount as numeric(12, 2)) as gross_margin_amount
    from lines_with_revenue

),

-- The table has its columns in the order of the contract.
final as (

    select
        *,
        {{ percent_of('gross_margin_amount', 'revenue_amount') }} as gross_margin_percent,
        cast(quantity_ordered * discount_each as numeric(12, 2)) as discount_amount,
        {{ percent_of('discount_each', 'msrp') }} as discount_percent
    from lines_with_margin

)

select * from final
