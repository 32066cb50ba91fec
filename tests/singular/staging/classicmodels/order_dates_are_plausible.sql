{% set days = ref('int_plausible_days') -%}
{{ odd_orders(
    'order_date < (select first_date from ' ~ days ~ ')'
    ~ ' or order_date > (select last_date from ' ~ days ~ ')'
    ~ ' and order_date <= cast(_loaded_at as date) + 1'
) }}
