{% macro order_milestones() -%}
    cast(shipped_date - order_date as integer) as days_to_ship,
    coalesce(order_status = 'Cancelled', false) as is_cancelled,
    shipped_date is not null as is_shipped,
    shipped_date is null
    and coalesce(order_status <> 'Cancelled', true) as is_open,
    coalesce(shipped_date > required_date, false) as is_late
{%- endmacro %}
