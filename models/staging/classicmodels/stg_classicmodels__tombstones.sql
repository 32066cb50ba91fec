with order_details as (

    select
        ordernumber,
        productcode,
        _loaded_at,
        _batch_id
    from {{ source('classicmodels', 'orderdetails') }}
    where _deleted_at is not null

),

orders as (

    select
        ordernumber,
        _loaded_at,
        _batch_id
    from {{ source('classicmodels', 'orders') }}
    where _deleted_at is not null

),

renamed as (

    select
        -- keys
        'order_details' as entity,
        cast(ordernumber as integer) as order_number,
        {{ clean_text('productcode') }} as product_code,

        -- metadata
        _loaded_at,
        _batch_id

    from order_details

    union all

    select
        'orders' as entity,
        cast(ordernumber as integer) as order_number,
        null as product_code,
        _loaded_at,
        _batch_id
    from orders

)

select * from renamed
