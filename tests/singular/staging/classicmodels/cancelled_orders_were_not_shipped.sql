{{ config(severity='warn') }}

{{ odd_orders("order_status = 'Cancelled' and shipped_date is not null") }}
