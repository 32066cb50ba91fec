with source as (

    select * from {{ source('run_records', '_run_nodes') }}

),

renamed as (

    select
        -- keys
        run_id,
        node_kind,
        node_name,

        -- attributes
        outcome as node_outcome,

        -- numbers
        seconds as node_seconds,
        row_count,

        -- dates
        loaded_at

    from source

)

select * from renamed
