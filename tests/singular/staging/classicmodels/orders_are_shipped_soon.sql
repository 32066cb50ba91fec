{{ config(severity='warn') }}

{{ odd_orders('shipped_date > order_date + ' ~ var('max_days_to_ship')) }}
