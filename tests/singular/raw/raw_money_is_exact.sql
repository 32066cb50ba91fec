{% set money = [
    ('customers', 'creditlimit'), ('products', 'buyprice'), ('products', 'msrp'),
    ('orderdetails', 'priceeach'), ('payments', 'amount'),
] -%}

with compared as (

    {% for table_name, column_name in money %}
    select
        '{{ table_name }}' as table_name,
        '{{ column_name }}' as column_name,
        count(*) as inexact_rows
    from {{ source('classicmodels', table_name) }}
    where
        _deleted_at is null
        and {{ untested() }}
        and cast(cast({{ column_name }} as numeric(12, 2)) as double precision)
        <> cast({{ column_name }} as double precision)
    {{ 'union all' if not loop.last }}
    {%- endfor %}

)

select
    table_name,
    column_name,
    inexact_rows
from compared
where inexact_rows > 0
