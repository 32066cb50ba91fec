with order_lines as (

    select * from {{ ref('int_order_lines_priced') }}

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

final as (

    select
        -- keys
        {{ entity_key(['order_lines.order_number', 'order_lines.product_code']) }}
            as order_line_key,
        coalesce(customers.customer_key, '-1') as customer_key,
        coalesce(customers.location_key, '-1') as location_key,
        coalesce(employees.employee_key, '-1') as employee_key,
        coalesce(employees.office_key, '-1') as office_key,
        coalesce(products.product_key, '-1') as product_key,
        {{ date_key('order_lines.order_date') }} as order_date_key,
        {{ date_key('order_lines.required_date') }} as required_date_key,
        {{ date_key('order_lines.shipped_date') }} as shipped_date_key,
        order_lines.order_number,
        order_lines.order_line_number,
        order_lines.product_code,
        order_lines.customer_number,

        -- attributes
        order_lines.order_status,
        order_lines.order_comments,

        -- numbers
        order_lines.quantity_ordered,
        order_lines.price_each,
        order_lines.buy_price,
        order_lines.msrp,
        order_lines.order_amount,
        order_lines.revenue_amount,
        order_lines.cost_amount,
        order_lines.gross_margin_amount,
        order_lines.gross_margin_percent,
        order_lines.discount_each,
        order_lines.discount_amount,
        order_lines.discount_percent,
        order_lines.days_to_ship,

        -- flags
        order_lines.is_revenue,
        order_lines.is_cancelled,
        order_lines.is_shipped,
        order_lines.is_open,
        order_lines.is_late,

        -- dates
        order_lines.order_date,
        order_lines.required_date,
        order_lines.shipped_date

    from order_lines
    left join customers on order_lines.customer_number = customers.customer_number
    left join employees on customers.employee_key = employees.employee_key
    left join products on order_lines.product_code = products.product_code

)

select * from final
