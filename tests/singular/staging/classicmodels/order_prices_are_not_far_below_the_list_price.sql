{{ config(severity='warn') }}

{{ odd_order_lines('order_lines.price_each * ' ~ var('max_price_ratio') ~ ' < products.msrp') }}
