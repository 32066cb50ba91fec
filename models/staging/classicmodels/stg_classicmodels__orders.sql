with source as (

    select * from {{ source('classicmodels', 'orders') }}
    where _deleted_at is null

),

renamed as (

    select
        -- keys
        cast(ordernumber as integer) as order_number,
        cast(customernumber as integer) as customer_number,

        -- attributes
        {{ clean_text('status') }} as order_status,
        {{ clean_text('comments') }} as order_comments,

        -- dates
        cast(orderdate as date) as order_date,
        cast(requireddate as date) as required_date,
        cast(shippeddate as date) as shipped_date,

        -- metadata
        _loaded_at,
        _batch_id

    from source

)

select * from renamed
