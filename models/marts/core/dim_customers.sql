{{ config(unique_key='customer_version_key') }}

with customers as (

    {{ snapshot_versions(ref('customers_snapshot'), 'customer_number') }}

),

locations as (

    select * from {{ ref('int_addresses_located') }}

),

-- Each once: which of them was valid when is in dim_employees.
employees as (

    select * from {{ ref('dim_employees') }}
    where version_number = 1

),

addresses as (

    select
        *,
        {{ entity_key(['country', 'state', 'city', 'postal_code']) }} as address_key
    from customers

),

described as (

    select
        -- keys
        coalesce(locations.location_key, '-1') as location_key,
        coalesce(employees.employee_key, '-1') as employee_key,
        addresses.customer_number,
        addresses.sales_rep_employee_number,

        -- attributes
        addresses.customer_name,
        {{ full_name('addresses.contact_first_name', 'addresses.contact_last_name') }}
            as contact_name,
        addresses.contact_first_name,
        addresses.contact_last_name,
        addresses.phone,
        addresses.address_line_1,
        addresses.address_line_2,
        addresses.postal_code,
        addresses.city,
        addresses.state,
        addresses.country,
        coalesce(locations.region, 'Unknown') as region,
        coalesce(locations.territory, 'Unknown') as territory,

        -- numbers
        addresses.credit_limit,

        -- flags
        addresses.sales_rep_employee_number is not null as has_sales_rep,
        addresses.is_deleted,

        -- dates
        addresses.valid_from,
        addresses.valid_to,

        -- metadata
        greatest(addresses.dbt_valid_from, employees._loaded_at) as _loaded_at

    from addresses
    left join locations on addresses.address_key = locations.location_key
    left join employees on addresses.sales_rep_employee_number = employees.employee_number

),

versions as (

    {{ merged_versions('described', [
        'customer_number', 'location_key', 'employee_key', 'sales_rep_employee_number',
        'customer_name', 'contact_name', 'contact_first_name', 'contact_last_name', 'phone',
        'address_line_1', 'address_line_2', 'postal_code', 'city', 'state', 'country', 'region',
        'territory', 'credit_limit', 'has_sales_rep', 'is_deleted',
    ]) }}

),

final as (

    select
        -- keys
        {{ entity_key(['customer_number', 'valid_from']) }} as customer_version_key,
        {{ entity_key(['customer_number']) }} as customer_key,
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
        cast(version_number as integer) as version_number,

        -- flags
        has_sales_rep,
        is_current,
        is_deleted,

        -- dates
        valid_from,
        valid_to,

        -- metadata
        _loaded_at

    from versions

    union all

    select
        '-1' as customer_version_key,
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
        null as credit_limit,
        1 as version_number,
        false as has_sales_rep,
        true as is_current,
        false as is_deleted,
        {{ beginning_of_time() }} as valid_from,
        {{ end_of_time() }} as valid_to,
        {{ beginning_of_time() }} as _loaded_at

)

select * from final
