{{ config(unique_key='office_key') }}

-- The last that is known of each; no office goes away, for older facts point to it.
with offices as (

    select * from {{ ref('offices_snapshot') }}
    where dbt_valid_to = {{ end_of_time() }}

),

addresses as (

    select
        *,
        {{ entity_key(['country', 'state', 'city', 'postal_code']) }} as address_key
    from offices

),

locations as (

    select * from {{ ref('int_addresses_located') }}

),

described as (

    select
        -- keys
        {{ entity_key(['addresses.office_code']) }} as office_key,
        coalesce(locations.location_key, '-1') as location_key,
        addresses.office_code,

        -- attributes
        addresses.phone,
        addresses.address_line_1,
        addresses.address_line_2,
        addresses.postal_code,
        addresses.city,
        addresses.state,
        addresses.country,
        addresses.territory,

        -- flags
        addresses.dbt_is_deleted = 'True' as is_deleted

    from addresses
    left join locations on addresses.address_key = locations.location_key

),

final as (

    {{ with_unknown_member('described') }}

)

select * from final
