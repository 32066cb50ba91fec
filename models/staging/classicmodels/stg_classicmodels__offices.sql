with source as (

    select * from {{ source('classicmodels', 'offices') }}
    where _deleted_at is null

),

renamed as (

    select
        -- keys
        {{ clean_text('officecode') }} as office_code,

        -- attributes
        {{ clean_text('phone') }} as phone,
        {{ clean_text('addressline1') }} as address_line_1,
        {{ clean_text('addressline2') }} as address_line_2,
        {{ clean_text('postalcode') }} as postal_code,
        {{ clean_text('city') }} as city,
        {{ clean_text('state') }} as state,
        {{ clean_text('country') }} as country,
        {{ clean_text('territory') }} as territory,

        -- metadata
        _loaded_at,
        _batch_id

    from source

)

select * from renamed
