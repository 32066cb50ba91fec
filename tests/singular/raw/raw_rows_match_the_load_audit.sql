{% set tables = [
    'customers', 'products', 'productlines', 'orders', 'orderdetails', 'payments', 'employees',
    'offices',
] -%}

with counted as (

    {% for table_name in tables %}
    select
        '{{ table_name }}' as table_name,
        count(*) as raw_rows
    from {{ source('classicmodels', table_name) }}
    where _deleted_at is null
    {{ 'union all' if not loop.last }}
    {%- endfor %}

),

succeeded as (

    select *
    from {{ source('load_audit', '_load_tables') }}
    where status = 'succeeded'

),

latest as (

    select
        table_name,
        max(batch_id) as batch_id
    from succeeded
    group by table_name

),

audited as (

    select
        succeeded.table_name,
        succeeded.rows_live
    from succeeded
    -- only older batches of the same table are left out
    inner join latest
        on
            succeeded.table_name = latest.table_name
            and succeeded.batch_id = latest.batch_id

)

select
    counted.table_name,
    counted.raw_rows,
    audited.rows_live
from counted
left join audited on counted.table_name = audited.table_name
where counted.raw_rows <> coalesce(audited.rows_live, -1)
