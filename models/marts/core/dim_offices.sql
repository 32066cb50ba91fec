with offices as (

    select * from {{ ref('stg_classicmodels__offices') }}

),

addresses as (

    select * from {{ ref('int_addresses_located') }}
    where holder_type = 'office'

),

known as (

    select
        -- keys
        {{ entity_key(['offices.office_code']) }} as office_key,
        coalesce(addresses.location_key, '-1') as location_key,
        offices.office_code,

        -- attributes
        offices.phone,
        offices.address_line_1,
        offices.address_line_2,
        offices.postal_code,
        offices.city,
        offices.state,
        offices.country,
        offices.territory

    from offices
    left join addresses on offices.office_code = addresses.holder_code

),

final as (

    select * from known

    union all

    select
        '-1' as office_key,
        '-1' as location_key,
        'Unknown' as office_code,
        'Unknown' as phone,
        'Unknown' as address_line_1,
        'Unknown' as address_line_2,
        'Unknown' as postal_code,
        'Unknown' as city,
        'Unknown' as state,
        'Unknown' as country,
        'Unknown' as territory

)

select * from final
