with payments as (

    select
        customernumber,
        checknumber,
        _loaded_at,
        _batch_id
    from {{ source('classicmodels', 'payments') }}
    where _deleted_at is not null

),

renamed as (

    select
        -- keys
        cast(customernumber as integer) as customer_number,
        {{ clean_text('checknumber') }} as check_number,

        -- metadata
        _loaded_at,
        _batch_id

    from payments

)

select * from renamed
