with customers as (

    select * from {{ ref('stg_classicmodels__customers') }}

),

addresses as (

    select * from {{ ref('int_addresses_located') }}
    where holder_type = 'customer'

),

employees as (

    select * from {{ ref('dim_employees') }}

),

known as (

    select
        -- keys
        {{ entity_key(['customers.customer_number']) }} as customer_key,
        coalesce(addresses.location_key, '-1') as location_key,
        coalesce(employees.employee_key, '-1') as employee_key,
        customers.customer_number,
        customers.sales_rep_employee_number,

        -- attributes
        customers.customer_name,
        {{ full_name('customers.contact_first_name', 'customers.contact_last_name') }}
            as contact_name,
        customers.contact_first_name,
        customers.contact_last_name,
        customers.phone,
        customers.address_line_1,
        customers.address_line_2,
        customers.postal_code,
        customers.city,
        customers.state,
        customers.country,
        coalesce(addresses.region, 'Unknown') as region,
        coalesce(addresses.territory, 'Unknown') as territory,
        employees.employee_name as sales_rep_name,

        -- numbers
        customers.credit_limit,

        -- flags
        customers.sales_rep_employee_number is not null as has_sales_rep

    from customers
    left join addresses
        on cast(customers.customer_number as {{ type_text() }}) = addresses.holder_code
    left join employees
        on customers.sales_rep_employee_number = employees.employee_number

),

final as (

    select * from known

    union all

    select
        '-1' as customer_key,
        '-1' as location_key,
        '-1' as employee_key,
        -1 as customer_number,
        null as sales_rep_employee_number,
        'Unknown' as customer_name,
        'Unknown' as contact_name,
        'Unknown' as contact_first_name,
        'Unknown' as contact_last_name,
        'Unknown' as phone,
        'Unknown' as address_line_1,
        'Unknown' as address_line_2,
        'Unknown' as postal_code,
        'Unknown' as city,
        'Unknown' as state,
        'Unknown' as country,
        'Unknown' as region,
        'Unknown' as territory,
        'Unknown' as sales_rep_name,
        null as credit_limit,
        false as has_sales_rep

)

select * from final
