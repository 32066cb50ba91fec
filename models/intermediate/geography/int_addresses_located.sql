with customers as (

    select * from {{ ref('stg_classicmodels__customers') }}

),

offices as (

    select * from {{ ref('stg_classicmodels__offices') }}

),

countries as (

    select * from {{ ref('countries') }}

),

addresses as (

    select
        'customer' as holder_type,
        cast(customer_number as {{ type_text() }}) as holder_code,
        country,
        state,
        city,
        postal_code
    from customers

    union all

    select
        'office' as holder_type,
        office_code as holder_code,
        country,
        state,
        city,
        postal_code
    from offices

),

final as (

    select
        -- keys
        {{ entity_key([
            'addresses.country', 'addresses.state', 'addresses.city', 'addresses.postal_code'
        ]) }} as location_key,
        addresses.holder_type,
        addresses.holder_code,

        -- attributes
        addresses.country,
        addresses.state,
        addresses.city,
        addresses.postal_code,
        countries.standard_name as country_standard_name,
        countries.iso_alpha2 as country_iso_alpha2,
        countries.iso_alpha3 as country_iso_alpha3,
        coalesce(countries.region, 'Unknown') as region,
        coalesce(countries.sub_region, 'Unknown') as sub_region,
        coalesce(countries.territory, 'Unknown') as territory

    from addresses
    left join countries on lower(addresses.country) = lower(countries.country_name)

)

select * from final
