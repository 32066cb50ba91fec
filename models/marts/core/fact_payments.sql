{{ config(
    incremental_strategy='changed_rows',
    unique_key='payment_key',
    dist='customer_key',
    sort='payment_date',
    tags='live',
    meta={
        'keeps_changes': true,
        'tombstones': {
            'model': 'stg_classicmodels__payment_tombstones',
            'key': ['customer_number', 'check_number']
        }
    }
) }}
-- depends_on: {{ ref('stg_classicmodels__payment_tombstones') }}

with customers as (

    select * from {{ ref('dim_customers') }}

),

employees as (

    select * from {{ ref('dim_employees') }}

),

{% if is_incremental() -%}
changed_customers as (

    {{ changed_since_last_build(
        'customer_number',
        'payment_date',
        rows=[ref('stg_classicmodels__payments')],
        versions={
            'customer_version_key': [ref('dim_customers'), 'customer_number'],
            'employee_version_key': [ref('dim_employees'), 'employee_key'],
        }
    ) }}

),

{% endif -%}

payments as (

    select
        *,
        {{ version_day('payment_date') }} as version_day
    from {{ ref('stg_classicmodels__payments') }}
    {%- if is_incremental() %}
    where customer_number in (select changed_customers.customer_number from changed_customers)
    {%- endif %}

),

-- With the versions that were valid on the day of the payment.
final as (

    select
        -- keys
        {{ entity_key(['payments.customer_number', 'payments.check_number']) }} as payment_key,
        coalesce(customers.customer_key, '-1') as customer_key,
        coalesce(customers.customer_version_key, '-1') as customer_version_key,
        coalesce(customers.location_key, '-1') as location_key,
        coalesce(employees.employee_key, '-1') as employee_key,
        coalesce(employees.employee_version_key, '-1') as employee_version_key,
        coalesce(employees.office_key, '-1') as office_key,
        {{ date_key('payments.payment_date') }} as payment_date_key,
        payments.customer_number,
        payments.check_number,

        -- numbers
        payments.payment_amount,

        -- dates
        payments.payment_date,

        -- metadata
        greatest(payments._loaded_at, customers._loaded_at, employees._loaded_at) as _loaded_at

    from payments
    left join customers
        on
            payments.customer_number = customers.customer_number
            and {{ is_valid('customers', 'payments.version_day') }}
    left join employees
        on
            customers.employee_key = employees.employee_key
            and {{ is_valid('employees', 'payments.version_day') }}

)

select * from final
