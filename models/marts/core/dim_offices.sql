{{ config(unique_key='office_key') }}

-- The last known version of each office. Closed offices stay, because older facts point to them.
with offices as (

    select * from {{ ref('offices_snapshot') }}
    where dbt_valid_to = {{ end_of_time() }}

),

keyed_offices as (

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
        {{ entity_key(['keyed_offices.office_code']) }} as office_key,
        coalesce(locations.location_key, '-1') as location_key,
        keyed_offices.office_code,

        -- attributes
        keyed_offices.phone,
        keyed_offices.address_line_1,
        keyed_offices.address_line_2,
        keyed_offices.postal_code,
        keyed_offices.city,
        keyed_offices.state,
        coalesce(locations.country, keyed_offices.country) as country,
        keyed_offices.country as country_as_spelled,
        keyed_offices.territory,

        -- flags
        keyed_offices.dbt_is_deleted = 'True' as is_deleted

    from keyed_offices
    left join locations on keyed_offices.address_key = locations.location_key

),

final as (

    {{ with_unknown_member('described') }}

)

select * from final
