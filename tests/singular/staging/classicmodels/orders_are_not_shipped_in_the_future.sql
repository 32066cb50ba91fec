{{ odd_orders(
    'shipped_date > (select last_date from ' ~ ref('int_plausible_days') ~ ')'
    ~ ' and shipped_date > cast(_loaded_at as date) + 1'
) }}
