{{ config(severity='warn') }}

{{ odd_products('buy_price = 0 or buy_price * ' ~ 2 * var('max_price_ratio') ~ ' < msrp') }}
