{{ config(severity='warn') }}

{{ odd_orders("order_status in ('Shipped', 'Resolved', 'Disputed') and shipped_date is null") }}
