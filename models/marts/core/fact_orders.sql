{{ config(
    incremental_strategy='changed_rows',
    unique_key='order_line_key',
    dist='customer_key',
    sort='order_date',
    meta={'tombstones': {'entity': 'order_details', 'key': ['order_number', 'product_code']}},
    indexes=index_on(['_loaded_at', 'order_line_key'])
) }}

with order_details as (

    select * from {{ ref('stg_classicmodels__order_details') }}

),

orders as (

    select * from {{ ref('int_orders_tracked') }}

),

gone_orders as (

    select
        order_number,
        max(_loaded_at) as _loaded_at
    from {{ ref('stg_classicmodels__tombstones') }}
    where entity = 'orders'
    group by order_number

),

customers as (

    select * from {{ ref('dim_customers') }}

),

employees as (

    select * from {{ ref('dim_employees') }}

),

products as (

    select * from {{ ref('dim_products') }}

),

{% if is_incremental() -%}
{%- set since = watermark() -%}
-- Each relation by itself, because PostgreSQL would calculate a CTE that is used twice in full.
new_customers as (

    {{ new_versions(ref('dim_customers'), 'customer_number', 'customer_version_key', since) }}

),

new_employees as (

    {{ new_versions(ref('dim_employees'), 'employee_key', 'employee_version_key', since) }}

),

new_products as (

    {{ new_versions(ref('dim_products'), 'product_code', 'product_version_key', since) }}

),

-- Orders of which a line, or what is known about one, may have changed since the last build.
changed as (

    select order_number from {{ ref('stg_classicmodels__order_details') }}
    where _loaded_at > {{ since }}

    union

    select order_number from {{ ref('int_orders_tracked') }}
    where _loaded_at > {{ since }}

    union

    select order_number from {{ ref('stg_classicmodels__tombstones') }}
    where
        entity = 'orders'
        and _loaded_at > {{ since }}

    union

    select known.order_number
    from {{ this }} as known
    left join new_customers
        on
            known.customer_number = new_customers.customer_number
            and {{ is_valid('new_customers', version_day('known.order_date')) }}
    left join new_employees
        on
            known.employee_key = new_employees.employee_key
            and {{ is_valid('new_employees', version_day('known.order_date')) }}
    left join new_products
        on
            known.product_code = new_products.product_code
            and {{ is_valid('new_products', version_day('known.order_date')) }}
    -- not in the joins, where DuckDB would compare each row with each for an `or`
    where
        known.customer_version_key <> new_customers.customer_version_key
        or known._loaded_at < new_customers._loaded_at
        or known.employee_version_key <> new_employees.employee_version_key
        or known._loaded_at < new_employees._loaded_at
        or known.product_version_key <> new_products.product_version_key
        or known._loaded_at < new_products._loaded_at

),

{% endif -%}

details as (

    select * from order_details
    {%- if is_incremental() %}
    where order_number in (select changed.order_number from changed)
    {%- endif %}

),

parents as (

    select * from orders
    {%- if is_incremental() %}
    where order_number in (select changed.order_number from changed)
    {%- endif %}

),

-- A line whose order is gone stays, without dates and status.
lines as (

    select
        details.order_number,
        details.order_line_number,
        details.product_code,
        details.quantity_ordered,
        details.price_each,
        parents.customer_number,
        parents.order_status,
        parents.order_comments,
        parents.days_to_ship,
        parents.order_date,
        parents.required_date,
        parents.shipped_date,
        {{ version_day('parents.order_date') }} as version_day,
        cast(details.quantity_ordered * details.price_each as numeric(12, 2)) as order_amount,
        -- The one definition of revenue: every line except those of cancelled orders.
        not coalesce(parents.is_cancelled, false) as is_revenue,
        coalesce(parents.is_cancelled, false) as is_cancelled,
        coalesce(parents.is_shipped, false) as is_shipped,
        coalesce(parents.is_open, false) as is_open,
        coalesce(parents.is_late, false) as is_late,
        greatest(details._loaded_at, parents._loaded_at, gone_orders._loaded_at) as _loaded_at

    from details
    left join parents on details.order_number = parents.order_number
    left join gone_orders on details.order_number = gone_orders.order_number

),

-- With the versions that were valid on the day of the order.
versioned as (

    select
        lines.order_number,
        lines.order_line_number,
        lines.product_code,
        lines.customer_number,
        lines.order_status,
        lines.order_comments,
        lines.quantity_ordered,
        lines.price_each,
        lines.order_amount,
        lines.days_to_ship,
        lines.is_revenue,
        lines.is_cancelled,
        lines.is_shipped,
        lines.is_open,
        lines.is_late,
        lines.order_date,
        lines.required_date,
        lines.shipped_date,
        coalesce(customers.customer_key, '-1') as customer_key,
        coalesce(customers.customer_version_key, '-1') as customer_version_key,
        coalesce(customers.location_key, '-1') as location_key,
        coalesce(employees.employee_key, '-1') as employee_key,
        coalesce(employees.employee_version_key, '-1') as employee_version_key,
        coalesce(employees.office_key, '-1') as office_key,
        coalesce(products.product_key, '-1') as product_key,
        coalesce(products.product_version_key, '-1') as product_version_key,
        products.buy_price,
        products.msrp,
        cast(products.msrp - lines.price_each as numeric(12, 2)) as discount_each,
        greatest(
            lines._loaded_at, customers._loaded_at, employees._loaded_at, products._loaded_at
        ) as _loaded_at

    from lines
    left join customers
        on
            lines.customer_number = customers.customer_number
            and {{ is_valid('customers', 'lines.version_day') }}
    left join employees
        on
            customers.employee_key = employees.employee_key
            and {{ is_valid('employees', 'lines.version_day') }}
    left join products
        on
            lines.product_code = products.product_code
            and {{ is_valid('products', 'lines.version_day') }}

),

earned as (

    select
        *,
        cast(case when is_revenue then order_amount else 0 end as numeric(12, 2))
            as revenue_amount,
        cast(case when is_revenue then quantity_ordered * buy_price else 0 end as numeric(12, 2))
            as cost_amount
    from versioned

),

margined as (

    select
        *,
        cast(revenue_amount - cost_amount as numeric(12, 2)) as gross_margin_amount
    from earned

),

final as (

    select
        -- keys
        {{ entity_key(['order_number', 'product_code']) }} as order_line_key,
        customer_key,
        customer_version_key,
        location_key,
        employee_key,
        employee_version_key,
        office_key,
        product_key,
        product_version_key,
        {{ date_key('order_date') }} as order_date_key,
        {{ date_key('required_date') }} as required_date_key,
        {{ date_key('shipped_date') }} as shipped_date_key,
        order_number,
        order_line_number,
        product_code,
        customer_number,

        -- attributes
        order_status,
        order_comments,

        -- numbers
        quantity_ordered,
        price_each,
        buy_price,
        msrp,
        order_amount,
        revenue_amount,
        cost_amount,
        gross_margin_amount,
        {{ percent_of('gross_margin_amount', 'revenue_amount') }} as gross_margin_percent,
        discount_each,
        cast(quantity_ordered * discount_each as numeric(12, 2)) as discount_amount,
        {{ percent_of('discount_each', 'msrp') }} as discount_percent,
        days_to_ship,

        -- flags
        is_revenue,
        is_cancelled,
        is_shipped,
        is_open,
        is_late,

        -- dates
        order_date,
        required_date,
        shipped_date,

        -- metadata
        _loaded_at

    from margined

)

select * from final
