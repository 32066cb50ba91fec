{% set staged = {
    'customers': 'customers', 'employees': 'employees', 'offices': 'offices',
    'order_details': 'orderdetails', 'orders': 'orders', 'payments': 'payments',
    'product_lines': 'productlines', 'products': 'products',
} -%}

with counted as (

    {% for entity, table_name in staged.items() %}
    select
        'stg_classicmodels__{{ entity }}' as model_name,
        (select count(*) from {{ ref('stg_classicmodels__' ~ entity) }}) as staged_rows,
        (
            select count(*) from {{ source('classicmodels', table_name) }}
            where _deleted_at is null
        ) as raw_rows
    {{ 'union all' if not loop.last }}
    {%- endfor %}

)

select * from counted
where staged_rows <> raw_rows
