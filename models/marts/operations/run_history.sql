{#- Days that the runs' own tables no longer have stay: not even undo-load removes rows. -#}
{{ config(
    unique_key=['run_date', 'node_kind', 'node_name'],
    incremental_strategy='changed_rows',
    full_refresh=false
) }}

with runs as (

    select
        run_id,
        started_at,
        coalesce(ended_at, started_at) as judged_at
    from {{ ref('stg_classicmodels__runs') }}

),

nodes as (

    select * from {{ ref('stg_classicmodels__run_nodes') }}

),

-- What a watch says of all its batches is not one of the project's nodes.
node_runs as (

    select
        cast(runs.started_at as date) as run_date,
        nodes.node_kind,
        nodes.node_name,
        nodes.node_outcome,
        nodes.node_seconds,
        nodes.row_count,
        runs.started_at,
        case
            when nodes.loaded_at > runs.judged_at then 0
            else {{ dbt.datediff('nodes.loaded_at', 'runs.judged_at', 'second') }}
        end as source_age_seconds

    from nodes
    -- both are written in one transaction
    inner join runs on nodes.run_id = runs.run_id
    where nodes.node_kind in ('model', 'test', 'snapshot', 'seed', 'source')

),

final as (

    select
        -- keys
        run_date,
        cast(node_kind as varchar(10)) as node_kind,
        cast(node_name as varchar(250)) as node_name,

        -- numbers
        count(*) as run_count,
        cast(sum(
            case when node_outcome in ('error', 'fail', 'runtime error') then 1 else 0 end
        ) as bigint) as failed_count,
        cast(sum(case when node_outcome = 'warn' then 1 else 0 end) as bigint) as warned_count,
        cast(sum(case when node_outcome = 'skipped' then 1 else 0 end) as bigint) as skipped_count,
        cast(sum(node_seconds) as numeric(18, 3)) as total_seconds,
        cast(max(node_seconds) as numeric(18, 3)) as slowest_seconds,
        cast(sum(case when node_kind in ('model', 'snapshot') then row_count end) as bigint)
            as changed_row_count,
        cast(max(source_age_seconds) as bigint) as greatest_age_seconds,

        -- dates
        max(started_at) as last_run_at

    from node_runs
    group by
        run_date,
        node_kind,
        node_name

)

select * from final
