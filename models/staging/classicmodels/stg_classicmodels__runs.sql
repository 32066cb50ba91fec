with source as (

    select * from {{ source('run_records', '_runs') }}
    -- A run that goes on may be the one that builds this, or have been killed.
    where outcome <> 'running'

),

renamed as (

    select
        -- keys
        run_id,

        -- attributes
        command,
        outcome as run_outcome,

        -- numbers
        seconds as run_seconds,

        -- dates
        started_at,
        ended_at,

        -- metadata
        load_batch_id as _batch_id

    from source

)

select * from renamed
