{{ config(severity='warn') }}

{% set columns = [
    ('customers', 'credit_limit'), ('customers', 'sales_rep_employee_number'),
    ('customers', 'phone'), ('customers', 'postal_code'), ('products', 'quantity_in_stock'),
    ('products', 'product_vendor'), ('employees', 'manager_employee_number'),
    ('orders', 'shipped_date'),
] -%}
{# A zero in each row is a column that was dropped and added again. #}
{% set amounts = ['credit_limit', 'quantity_in_stock'] -%}

with counted as (

    {% for entity, column_name in columns %}
    select
        '{{ entity }}' as table_name,
        '{{ column_name }}' as column_name,
        count(*) as row_count,
        count({{ 'nullif(' ~ column_name ~ ', 0)' if column_name in amounts else column_name }})
            as value_count
    from {{ ref('stg_classicmodels__' ~ entity) }}
    {{ 'union all' if not loop.last }}
    {%- endfor %}

)

select * from counted
where
    value_count = 0
    and row_count > 1
