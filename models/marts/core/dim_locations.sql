{{ config(unique_key='location_key') }}

with locations as (

    select * from {{ ref('int_addresses_located') }}

),

final as (

    select
        location_key,
        postal_code,
        city,
        state,
        country,
        country_standard_name,
        country_iso_alpha2,
        country_iso_alpha3,
        region,
        sub_region,
        territory
    from locations

    union all

    select
        '-1' as location_key,
        'Unknown' as postal_code,
        'Unknown' as city,
        'Unknown' as state,
        'Unknown' as country,
        'Unknown' as country_standard_name,
        null as country_iso_alpha2,
        null as country_iso_alpha3,
        'Unknown' as region,
        'Unknown' as sub_region,
        'Unknown' as territory

)

select * from final
