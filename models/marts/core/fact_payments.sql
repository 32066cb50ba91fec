{{ config(
    incremental_strategy='changed_rows',
    unique_key='payment_key',
    dist='customer_key',
    sort='payment_date',
    meta={'tombstones': {'entity': 'payments', 'key': ['customer_number', 'check_number']}}
) }}
-- depends_on: {{ ref('stg_classicmodels__tombstones') }}

with payments as (

    select * from {{ ref('stg_classicmodels__payments') }}

),

customers as (

    select * from {{ ref('dim_customers') }}

),

employees as (

    select * from {{ ref('dim_employees') }}

),

dated as (

    select
        *,
        {{ version_day('payment_date') }} as version_day
    from payments

),

{% if is_incremental() -%}
{%- set since = watermark() -%}
-- As in fact_orders.
new_customers as (

    {{ new_versions(ref('dim_customers'), 'customer_number', 'customer_version_key', since) }}

),

new_employees as (

    {{ new_versions(ref('dim_employees'), 'employee_key', 'employee_version_key', since) }}

),

-- Customers of whom a payment, or what is known about one, may have changed since the last build.
changed as (

    select customer_number from {{ ref('stg_classicmodels__payments') }}
    where _loaded_at > {{ since }}

    union

    select known.customer_number
    from {{ this }} as known
    left join new_customers
        on
            known.customer_number = new_customers.customer_number
            and {{ is_valid('new_customers', version_day('known.payment_date')) }}
    left join new_employees
        on
            known.employee_key = new_employees.employee_key
            and {{ is_valid('new_employees', version_day('known.payment_date')) }}
    -- not in the joins, where DuckDB would compare each row with each for an `or`
    where
        known.customer_version_key <> new_customers.customer_version_key
        or known._loaded_at < new_customers._loaded_at
        or known.employee_version_key <> new_employees.employee_version_key
        or known._loaded_at < new_employees._loaded_at

),

{% endif -%}

paid as (

    select * from dated
    {%- if is_incremental() %}
    where customer_number in (select changed.customer_number from changed)
    {%- endif %}

),

-- With the versions that were valid on the day of the payment.
final as (

    select
        -- keys
        {{ entity_key(['paid.customer_number', 'paid.check_number']) }} as payment_key,
        coalesce(customers.customer_key, '-1') as customer_key,
        coalesce(customers.customer_version_key, '-1') as customer_version_key,
        coalesce(customers.location_key, '-1') as location_key,
        coalesce(employees.employee_key, '-1') as employee_key,
        coalesce(employees.employee_version_key, '-1') as employee_version_key,
        coalesce(employees.office_key, '-1') as office_key,
        {{ date_key('paid.payment_date') }} as payment_date_key,
        paid.customer_number,
        paid.check_number,

        -- numbers
        paid.payment_amount,

        -- dates
        paid.payment_date,

        -- metadata
        greatest(paid._loaded_at, customers._loaded_at, employees._loaded_at) as _loaded_at

    from paid
    left join customers
        on
            paid.customer_number = customers.customer_number
            and {{ is_valid('customers', 'paid.version_day') }}
    left join employees
        on
            customers.employee_key = employees.employee_key
            and {{ is_valid('employees', 'paid.version_day') }}

)

select * from final
