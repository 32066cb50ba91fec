with customers as (

    select * from {{ ref('customers_snapshot') }}

),

offices as (

    select * from {{ ref('offices_snapshot') }}

),

countries as (

    select * from {{ ref('countries') }}

),

-- Each address once, of all versions of all customers and offices.
addresses as (

    select
        country,
        state,
        city,
        postal_code
    from customers

    union

    select
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

        -- attributes
        addresses.postal_code,
        addresses.city,
        addresses.state,
        coalesce(countries.standard_name, addresses.country) as country,
        addresses.country as country_as_spelled,
        countries.standard_name as country_standard_name,
        countries.iso_alpha2 as country_iso_alpha2,
        countries.iso_alpha3 as country_iso_alpha3,
        coalesce(countries.region, 'Unknown') as region,
        coalesce(countries.sub_region, 'Unknown') as sub_region,
        coalesce(countries.territory, 'Unknown') as territory

    from addresses
    left join countries
        on
            {{ comparable_text('addresses.country') }}
            = {{ comparable_text('countries.country_name') }}
    where addresses.country is not null

)

select * from final
