{% set dimensions = {
    'dim_customers_current': 'customers', 'dim_products_current': 'products',
    'dim_employees_current': 'employees', 'dim_offices': 'offices',
} -%}

with counted as (

    {% for dimension, entity in dimensions.items() %}
    select
        '{{ dimension }}' as dimension,
        (
            select count(*) from {{ ref(dimension) }}
            where not is_deleted
        ) - 1 as dimension_rows,
        (
            select count(*) from {{ source('classicmodels', entity) }}
            where _deleted_at is null
        ) as raw_rows
    {{ 'union all' if not loop.last }}
    {%- endfor %}

)

select * from counted
where dimension_rows <> raw_rows
