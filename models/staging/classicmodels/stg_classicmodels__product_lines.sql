with source as (

    select * from {{ source('classicmodels', 'productlines') }}
    where _deleted_at is null

),

renamed as (

    select
        -- keys
        {{ clean_text('productline') }} as product_line,

        -- attributes
        {{ clean_text('textdescription') }} as text_description,
        {{ clean_text('htmldescription') }} as html_description,
        image,

        -- metadata
        _loaded_at,
        _batch_id

    from source

)

select * from renamed
