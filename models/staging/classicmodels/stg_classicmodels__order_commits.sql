with source as (

    select * from {{ source('load_audit', '_load_commits') }}
    where table_name = 'orders'

),

renamed as (

    select
        -- keys
        cast(row_key as integer) as order_number,

        -- dates
        committed_at,

        -- metadata
        batch_id as _batch_id

    from source

)

select * from renamed
