{{ config(severity='warn') }}

{% set columns = [
    ('customers', 'credit_limit'), ('customers', 'sales_rep_employee_number'),
    ('customers', 'phone'), ('customers', 'postal_code'), ('products', 'quantity_in_stock'),
    ('products', 'product_vendor'), ('employees', 'manager_employee_number'),
    ('orders', 'shipped_date'),
] -%}
{# A zero in each row is a column that was dropped and added again. #}
{% set amounts = ['credit_limit', 'quantity_in_stock'] -%}

-- The first value that is found ends the search: each text of a large table costs time to clean.
with empty_columns as (

    {% for entity, column_name in columns %}
    {%- set value = 'nullif(' ~ column_name ~ ', 0)' if column_name in amounts else column_name %}
    select
        '{{ entity }}' as table_name,
        '{{ column_name }}' as column_name,
        count(*) as row_count,
        0 as value_count
    from {{ ref('stg_classicmodels__' ~ entity) }}
    where
        not exists (
            select 1 from {{ ref('stg_classicmodels__' ~ entity) }}
            where {{ value }} is not null
        )
    {{ 'union all' if not loop.last }}
    {%- endfor %}

)

select * from empty_columns
where row_count > 1
