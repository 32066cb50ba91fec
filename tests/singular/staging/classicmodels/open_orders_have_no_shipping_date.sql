{{ config(severity='warn') }}

{{ odd_orders("order_status in ('In Process', 'On Hold') and shipped_date is not null") }}
