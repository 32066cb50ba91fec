with source as (

    select * from {{ source('classicmodels', 'products') }}
    where _deleted_at is null

),

renamed as (

    select
        -- keys
        {{ clean_text('productcode') }} as product_code,
        {{ clean_text('productline') }} as product_line,

        -- attributes
        {{ clean_text('productname') }} as product_name,
        {{ clean_text('productscale') }} as product_scale,
        {{ clean_text('productvendor') }} as product_vendor,
        {{ clean_text('productdescription') }} as product_description,

        -- numbers
        cast(quantityinstock as integer) as quantity_in_stock,
        cast(buyprice as numeric(12, 2)) as buy_price,
        cast(msrp as numeric(12, 2)) as msrp,

        -- metadata
        _loaded_at,
        _batch_id

    from source

)

select * from renamed
