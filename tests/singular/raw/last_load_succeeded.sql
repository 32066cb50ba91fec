with runs as (

    select * from {{ source('load_audit', '_load_runs') }}

),

latest as (

    select max(batch_id) as batch_id from runs

)

select
    latest.batch_id,
    runs.status,
    runs.error
from latest
left join runs on latest.batch_id = runs.batch_id
where coalesce(runs.status, 'no run at all') <> 'succeeded'
