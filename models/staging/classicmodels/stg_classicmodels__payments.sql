with source as (

    select * from {{ source('classicmodels', 'payments') }}
    where _deleted_at is null

),

renamed as (

    select
        -- keys
        cast(customernumber as integer) as customer_number,
        {{ clean_text('checknumber') }} as check_number,

        -- numbers
        cast(amount as numeric(12, 2)) as payment_amount,

        -- dates
        cast(paymentdate as date) as payment_date,

        -- metadata
        _loaded_at,
        _batch_id

    from source

)

select * from renamed
