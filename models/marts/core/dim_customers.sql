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
        {{ entity_key(['addresses.customer_number']) }} as customer_key,
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

    {{ merged_versions('described', 'customer_number', 'customer_version_key') }}

),

final as (

    {{ with_unknown_member('versions', {'customer_number': -1}) }}

)

select * from final
