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

payments as (

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
        'order_details' as entity,
        cast(ordernumber as integer) as order_number,
        {{ clean_text('productcode') }} as product_code,
        cast(null as integer) as customer_number,
        cast(null as {{ type_text() }}) as check_number,

        -- metadata
        _loaded_at,
        _batch_id

    from order_details

    union all

    select
        'orders' as entity,
        cast(ordernumber as integer) as order_number,
        null as product_code,
        null as customer_number,
        null as check_number,
        _loaded_at,
        _batch_id
    from orders

    union all

    select
        'payments' as entity,
        null as order_number,
        null as product_code,
        cast(customernumber as integer) as customer_number,
        {{ clean_text('checknumber') }} as check_number,
        _loaded_at,
        _batch_id
    from payments

)

select * from renamed
