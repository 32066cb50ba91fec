{% set dimensions = {
    'dim_customers': 'customer_key', 'dim_products': 'product_key', 'dim_employees': 'employee_key',
    'dim_locations': 'location_key', 'dim_offices': 'office_key', 'dim_dates': 'date_key',
} -%}

with members as (

    {% for dimension, key in dimensions.items() %}
    select
        '{{ dimension }}' as dimension,
        sum(case when {{ key }} = {{ -1 if key == 'date_key' else "'-1'" }} then 1 else 0 end)
            as unknown_members
    from {{ ref(dimension) }}
    {{ 'union all' if not loop.last }}
    {%- endfor %}

)

select * from members
where coalesce(unknown_members, 0) <> 1
