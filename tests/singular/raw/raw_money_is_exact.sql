{% set money = [
    ('customers', 'creditlimit'), ('products', 'buyprice'), ('products', 'msrp'),
    ('orderdetails', 'priceeach'), ('payments', 'amount'),
] -%}

with promised as (

    {% for table_name, column_name in money %}
    select
        '{{ table_name }}' as table_name,
        '{{ column_name }}' as column_name
    {{ 'union all' if not loop.last }}
    {%- endfor %}

),

arrived as (

    {% set raw = source('classicmodels', 'orderdetails') %}
    select
        table_name,
        column_name,
        data_type,
        numeric_scale
    from information_schema.columns
    where
        table_catalog = '{{ raw.database }}'
        and table_schema = '{{ raw.schema }}'

)

select
    promised.table_name,
    promised.column_name,
    arrived.data_type
from promised
left join arrived
    on
        promised.table_name = arrived.table_name
        and promised.column_name = arrived.column_name
where
    arrived.numeric_scale is null
    or arrived.numeric_scale <> 2
