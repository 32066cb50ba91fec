with order_lines as (

    select * from {{ ref('fact_orders') }}

),

payments as (

    select * from {{ ref('fact_payments') }}

),

customers as (

    select * from {{ ref('dim_customers') }}

),

locations as (

    select * from {{ ref('dim_locations') }}

),

employees as (

    select * from {{ ref('dim_employees') }}

),

products as (

    select * from {{ ref('dim_products') }}

),

dates as (

    select * from {{ ref('dim_dates') }}

),

business_days as (

    select max(order_date) as business_date from order_lines
    union all
    select max(shipped_date) as business_date from order_lines
    union all
    select max(payment_date) as business_date from payments

),

as_of as (

    select
        coalesce(
            cast(nullif('{{ var("as_of_date") }}', '') as date),
            max(business_date)
        ) as as_of_date
    from business_days

),

final as (

    select
        -- keys
        order_lines.order_line_key,
        order_lines.order_number,
        order_lines.order_line_number,
        order_lines.product_code,
        customers.customer_number,
        employees.employee_number as sales_rep_employee_number,
        employees.office_code,

        -- attributes: order
        order_lines.order_status,
        order_lines.order_comments,

        -- attributes: product
        products.product_name,
        products.product_line,
        products.product_scale,
        products.product_vendor,
        products.product_description,
        products.product_line_description,

        -- attributes: customer
        customers.customer_name,
        customers.contact_name,
        customers.contact_first_name,
        customers.contact_last_name,
        customers.phone,
        customers.address_line_1,
        customers.address_line_2,
        locations.postal_code,
        locations.city,
        locations.state,
        locations.country,
        locations.country_iso_alpha2,
        locations.region,
        locations.sub_region,
        locations.territory,

        -- attributes: sales representative and office
        employees.employee_name as sales_rep_name,
        employees.first_name as sales_rep_first_name,
        employees.last_name as sales_rep_last_name,
        employees.job_title as sales_rep_job_title,
        employees.email as sales_rep_email,
        employees.manager_name as sales_rep_manager_name,
        employees.office_city,
        employees.office_country,
        employees.office_territory,

        -- attributes: calendar
        dates.year_month as order_year_month,
        dates.year_quarter as order_year_quarter,
        dates.year_number as order_year,

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
        customers.credit_limit,
        order_lines.days_to_ship,

        -- flags
        order_lines.is_revenue,
        order_lines.is_cancelled,
        order_lines.is_shipped,
        order_lines.is_open,
        order_lines.is_late,
        coalesce(
            order_lines.is_open and order_lines.required_date < as_of.as_of_date, false
        ) as is_overdue,

        -- dates
        order_lines.order_date,
        order_lines.required_date,
        order_lines.shipped_date,
        as_of.as_of_date

    from order_lines
    left join customers on order_lines.customer_key = customers.customer_key
    left join locations on order_lines.location_key = locations.location_key
    left join employees on order_lines.employee_key = employees.employee_key
    left join products on order_lines.product_key = products.product_key
    left join dates on order_lines.order_date_key = dates.date_key
    -- exactly one row, so no line is lost or doubled
    cross join as_of

)

select * from final
