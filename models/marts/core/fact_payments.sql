with payments as (

    select * from {{ ref('stg_classicmodels__payments') }}

),

customers as (

    select * from {{ ref('dim_customers') }}

),

employees as (

    select * from {{ ref('dim_employees') }}

),

final as (

    select
        -- keys
        {{ entity_key(['payments.customer_number', 'payments.check_number']) }} as payment_key,
        coalesce(customers.customer_key, '-1') as customer_key,
        coalesce(customers.location_key, '-1') as location_key,
        coalesce(employees.employee_key, '-1') as employee_key,
        coalesce(employees.office_key, '-1') as office_key,
        {{ date_key('payments.payment_date') }} as payment_date_key,
        payments.customer_number,
        payments.check_number,

        -- numbers
        payments.payment_amount,

        -- dates
        payments.payment_date

    from payments
    left join customers on payments.customer_number = customers.customer_number
    left join employees on customers.employee_key = employees.employee_key

)

select * from final
