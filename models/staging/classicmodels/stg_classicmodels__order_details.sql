with source as (

    select * from {{ source('classicmodels', 'orderdetails') }}
    where _deleted_at is null

),

renamed as (

    select
        -- keys
        cast(ordernumber as integer) as order_number,
        cast(orderlinenumber as integer) as order_line_number,
        {{ clean_text('productcode') }} as product_code,

        -- numbers
        cast(quantityordered as integer) as quantity_ordered,
        cast(priceeach as numeric(12, 2)) as price_each,

        -- metadata
        _loaded_at,
        _batch_id

    from source

)

select * from renamed
