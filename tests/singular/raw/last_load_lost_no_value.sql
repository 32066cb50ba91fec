{{ config(severity='warn') }}

with issues as (

    select * from {{ source('load_audit', '_load_issues') }}

),

latest as (

    select max(batch_id) as batch_id from {{ source('load_audit', '_load_runs') }}

)

select
    issues.table_name,
    issues.column_name,
    issues.reason,
    issues.value_count,
    issues.sample_key
from issues
-- issues of earlier runs are history
inner join latest on issues.batch_id = latest.batch_id
