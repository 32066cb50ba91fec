{{ config(materialized='view') }}

with customers as (

    select * from {{ ref('dim_customers') }}

),

final as (

    select
        -- keys
        customer_key,
        location_key,
        employee_key,
        customer_number,
        sales_rep_employee_number,

        -- attributes
        customer_name,
        contact_name,
        contact_first_name,
        contact_last_name,
        phone,
        address_line_1,
        address_line_2,
        postal_code,
        city,
        state,
        country,
        region,
        territory,

        -- numbers
        credit_limit,

        -- flags
        has_sales_rep,
        is_deleted

    from customers
    where is_current

)

select * from final
