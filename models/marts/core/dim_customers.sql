{{ config(
    unique_key='customer_version_key',
    meta={'history_of': 'customer_number', 'keeps_changes': true}
) }}
{%- set since = built_through() %}

with {% if since -%}
-- Customers that have a new version, or whose representative has.
changed_customers as (

    select customer_number from {{ ref('customers_snapshot') }}
    where dbt_valid_from > {{ since }}

    union

    select customer_number from {{ ref('customers_snapshot') }}
    where
        sales_rep_employee_number in (
            select employee_number from {{ ref('dim_employees') }}
            where _loaded_at > {{ since }}
        )

),

{% endif -%}

customers as (

    {{ snapshot_versions(
        ref('customers_snapshot'), 'customer_number', 'changed_customers' if since
    ) }}

),

locations as (

    select * from {{ ref('int_addresses_located') }}

),

-- Each employee once: dim_employees has the versions.
employees as (

    select * from {{ ref('dim_employees') }}
    where version_number = 1

),

keyed_customers as (

    select
        *,
        {{ entity_key(['country', 'state', 'city', 'postal_code']) }} as address_key
    from customers

),

described as (

    select
        -- keys
        {{ entity_key(['keyed_customers.customer_number']) }} as customer_key,
        coalesce(locations.location_key, '-1') as location_key,
        coalesce(employees.employee_key, '-1') as employee_key,
        keyed_customers.customer_number,
        keyed_customers.sales_rep_employee_number,

        -- attributes
        keyed_customers.customer_name,
        {{ full_name('keyed_customers.contact_first_name', 'keyed_customers.contact_last_name') }}
            as contact_name,
        keyed_customers.contact_first_name,
        keyed_customers.contact_last_name,
        keyed_customers.phone,
        keyed_customers.address_line_1,
        keyed_customers.address_line_2,
        keyed_customers.postal_code,
        keyed_customers.city,
        keyed_customers.state,
        coalesce(locations.country, keyed_customers.country) as country,
        keyed_customers.country as country_as_spelled,
        coalesce(locations.region, 'Unknown') as region,
        coalesce(locations.territory, 'Unknown') as territory,

        -- numbers
        keyed_customers.credit_limit,

        -- flags
        keyed_customers.sales_rep_employee_number is not null as has_sales_rep,
        keyed_customers.is_deleted,

        -- dates
        keyed_customers.valid_from,
        keyed_customers.valid_to,

        -- metadata
        greatest(keyed_customers.dbt_valid_from, employees._loaded_at) as _loaded_at

    from keyed_customers
    left join locations on keyed_customers.address_key = locations.location_key
    left join employees on keyed_customers.sales_rep_employee_number = employees.employee_number

),

versions as (

    {{ merged_versions('described', 'customer_number', 'customer_version_key') }}

),

final as (

    {{ with_unknown_member('versions', {'customer_number': -1}) }}

)

select * from final
