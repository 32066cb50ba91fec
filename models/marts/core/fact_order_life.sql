{{ config(
    incremental_strategy='changed_rows',
    unique_key='order_key',
    indexes=index_on(['_loaded_at', 'first_seen_at', 'order_date']),
    dist='customer_key',
    sort='order_date',
    tags='live',
    meta={'keeps_changes': true, 'key_has': 'order_number'}
) }}

with orders as (

    select * from {{ ref('orders_snapshot') }}
    where dbt_valid_from < dbt_valid_to

),

customers as (

    select * from {{ ref('dim_customers') }}

),

order_commits as (

    select * from {{ ref('stg_classicmodels__order_commits') }}

),

{% if is_incremental() -%}
{%- set since = watermark() -%}
-- As from new_versions(), and with the location: a first version can be replaced under its key.
new_customers as (

    select
        customer_number,
        customer_version_key,
        location_key,
        valid_from,
        valid_to
    from {{ ref('dim_customers') }}
    where {{ is_new_version(since) }}

),

-- Orders that have a new version, or whose customer has.
changed_orders as (

    select order_number from {{ ref('orders_snapshot') }}
    where dbt_valid_from > {{ since }}

    union

    select known.order_number
    from {{ this }} as known
    -- only those for which a version is new
    inner join new_customers
        on
            known.customer_number = new_customers.customer_number
            and {{ is_valid('new_customers', version_day('known.order_date')) }}
            and (
                known.customer_version_key <> new_customers.customer_version_key
                or known.location_key <> new_customers.location_key
            )

),

{% endif -%}

versions as (

    select
        *,
        lag(order_status) over (partition by order_number order by dbt_valid_from)
            as status_before,
        row_number() over (partition by order_number order by dbt_valid_from) as version_number
    from orders
    {%- if is_incremental() %}
    where order_number in (select changed_orders.order_number from changed_orders)
    {%- endif %}

),

marked_versions as (

    select
        *,
        version_number = 1 or coalesce(order_status, '') <> coalesce(status_before, '')
            as is_status_change
    from versions

),

order_histories as (

    select
        order_number,
        cast({{ dbt.listagg(
            "case when is_status_change then coalesce(order_status, 'Unknown') end",
            "' > '",
            'order by dbt_valid_from'
        ) }} as {{ type_text() }}) as status_history,
        cast(sum(case when is_status_change then 1 else 0 end) - 1 as integer) as status_changes,
        min(dbt_valid_from) as first_seen_at,
        min(_batch_id) as first_batch_id,
        min(case when shipped_date is not null then dbt_valid_from end) as shipped_seen_at,
        min(case when order_status = 'On Hold' then dbt_valid_from end) as on_hold_at,
        min(case when order_status = 'Disputed' then dbt_valid_from end) as disputed_at,
        min(case when order_status = 'Resolved' then dbt_valid_from end) as resolved_at,
        min(case when order_status = 'Cancelled' then dbt_valid_from end) as cancelled_at,
        max(dbt_valid_from) as _loaded_at
    from marked_versions
    group by order_number

),

latest as (

    select
        *,
        {{ order_milestones() }},
        {{ version_day('order_date') }} as version_day
    from versions
    where dbt_valid_to = {{ end_of_time() }}

),

final as (

    select
        -- keys
        {{ entity_key(['latest.order_number']) }} as order_key,
        coalesce(customers.customer_key, '-1') as customer_key,
        coalesce(customers.customer_version_key, '-1') as customer_version_key,
        coalesce(customers.location_key, '-1') as location_key,
        latest.order_number,
        latest.customer_number,

        -- attributes
        latest.order_status,
        order_histories.status_history,

        -- numbers
        order_histories.status_changes,
        latest.days_to_ship,
        cast(cast(order_histories.cancelled_at as date) - latest.order_date as integer)
            as days_to_cancel,
        cast(cast(order_histories.resolved_at as date) - latest.order_date as integer)
            as days_to_resolve,

        -- flags
        latest.is_cancelled,
        latest.is_shipped,
        latest.is_late,
        latest.dbt_is_deleted = 'True' as is_deleted,
        order_commits.committed_at is not null as is_first_seen_in_log,

        -- dates
        latest.order_date,
        latest.required_date,
        latest.shipped_date,
        -- the load's where the source's clock is ahead
        least(order_histories.first_seen_at, order_commits.committed_at) as first_seen_at,
        order_histories.shipped_seen_at,
        order_histories.on_hold_at,
        order_histories.disputed_at,
        order_histories.resolved_at,
        order_histories.cancelled_at,

        -- metadata
        order_histories._loaded_at

    from latest
    -- both are made of the same versions
    inner join order_histories on latest.order_number = order_histories.order_number
    -- not where the order was known before, and came back after a full refresh of the raw table
    left join order_commits
        on
            latest.order_number = order_commits.order_number
            and order_histories.first_batch_id >= order_commits._batch_id
    left join customers
        on
            latest.customer_number = customers.customer_number
            and {{ is_valid('customers', 'latest.version_day') }}

)

select * from final
