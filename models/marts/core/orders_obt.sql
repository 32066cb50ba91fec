{{ config(materialized='view', tags='live') }}

-- A relation that is used twice is imported twice: PostgreSQL would write out a CTE with two uses
-- in full before it looks at what the reader asks for.
with order_lines as (

    select * from {{ ref('fact_orders') }}

),

customers as (

    select * from {{ ref('dim_customers') }}

),

customers_current as (

    select * from {{ ref('dim_customers_current') }}

),

locations_at_order as (

    select * from {{ ref('dim_locations') }}

),

locations_now as (

    select * from {{ ref('dim_locations') }}

),

employees as (

    select * from {{ ref('dim_employees') }}

),

employees_current as (

    select * from {{ ref('dim_employees_current') }}

),

products as (

    select * from {{ ref('dim_products') }}

),

products_current as (

    select * from {{ ref('dim_products_current') }}

),

dates as (

    select * from {{ ref('dim_dates') }}

),

final as (

    select
        -- keys
        order_lines.order_line_key,
        order_lines.order_number,
        order_lines.order_line_number,
        order_lines.product_code,
        customers_current.customer_number,

        -- attributes: order
        order_lines.order_status,
        order_lines.order_comments,

        -- attributes: product
        products.product_line as product_line_at_order,
        products_current.product_line as product_line_now,
        products_current.product_name as product_name_now,
        products_current.product_scale as product_scale_now,
        products_current.product_vendor as product_vendor_now,
        products_current.product_description as product_description_now,
        products_current.product_line_description as product_line_description_now,

        -- attributes: customer
        customers.customer_name as customer_name_at_order,
        customers_current.customer_name as customer_name_now,
        customers_current.contact_name as contact_name_now,
        customers_current.phone as phone_now,
        customers_current.address_line_1 as address_line_1_now,
        customers_current.address_line_2 as address_line_2_now,
        locations_at_order.postal_code as postal_code_at_order,
        locations_now.postal_code as postal_code_now,
        locations_at_order.city as city_at_order,
        locations_now.city as city_now,
        locations_at_order.state as state_at_order,
        locations_now.state as state_now,
        locations_at_order.country as country_at_order,
        locations_now.country as country_now,
        locations_at_order.country_iso_alpha2 as country_iso_alpha2_at_order,
        locations_now.country_iso_alpha2 as country_iso_alpha2_now,
        locations_at_order.region as region_at_order,
        locations_now.region as region_now,
        locations_at_order.sub_region as sub_region_at_order,
        locations_now.sub_region as sub_region_now,
        locations_at_order.territory as territory_at_order,
        locations_now.territory as territory_now,

        -- attributes: sales representative and office
        employees.employee_number as sales_rep_employee_number_at_order,
        employees_current.employee_number as sales_rep_employee_number_now,
        employees.employee_name as sales_rep_name_at_order,
        employees_current.employee_name as sales_rep_name_now,
        employees.job_title as sales_rep_job_title_at_order,
        employees_current.job_title as sales_rep_job_title_now,
        employees_current.email as sales_rep_email_now,
        employees.manager_name as sales_rep_manager_name_at_order,
        employees_current.manager_name as sales_rep_manager_name_now,
        employees.office_code as office_code_at_order,
        employees_current.office_code as office_code_now,
        employees.office_city as office_city_at_order,
        employees_current.office_city as office_city_now,
        employees.office_country as office_country_at_order,
        employees_current.office_country as office_country_now,
        employees.office_territory as office_territory_at_order,
        employees_current.office_territory as office_territory_now,

        -- attributes: calendar
        dates.year_month as order_year_month,
        dates.year_quarter as order_year_quarter,
        dates.year_number as order_year,

        -- numbers
        order_lines.quantity_ordered,
        order_lines.price_each,
        order_lines.buy_price as buy_price_at_order,
        products_current.buy_price as buy_price_now,
        order_lines.msrp as msrp_at_order,
        products_current.msrp as msrp_now,
        order_lines.order_amount,
        order_lines.revenue_amount,
        order_lines.cost_amount,
        order_lines.gross_margin_amount,
        order_lines.gross_margin_percent,
        order_lines.discount_each,
        order_lines.discount_amount,
        order_lines.discount_percent,
        customers.credit_limit as credit_limit_at_order,
        customers_current.credit_limit as credit_limit_now,
        order_lines.days_to_ship,

        -- flags
        order_lines.is_revenue,
        order_lines.is_cancelled,
        order_lines.is_shipped,
        order_lines.is_open,
        order_lines.is_late,
        coalesce(
            order_lines.is_open and order_lines.required_date < {{ as_of_date() }}, false
        ) as is_overdue,

        -- dates
        order_lines.order_date,
        order_lines.required_date,
        order_lines.shipped_date,
        {{ as_of_date() }} as as_of_date

    from order_lines
    left join customers on order_lines.customer_version_key = customers.customer_version_key
    left join customers_current on order_lines.customer_key = customers_current.customer_key
    left join locations_at_order
        on order_lines.location_key = locations_at_order.location_key
    left join locations_now
        on customers_current.location_key = locations_now.location_key
    left join employees on order_lines.employee_version_key = employees.employee_version_key
    left join employees_current
        on customers_current.employee_key = employees_current.employee_key
    left join products on order_lines.product_version_key = products.product_version_key
    left join products_current on order_lines.product_key = products_current.product_key
    left join dates on order_lines.order_date_key = dates.date_key

)

select * from final
