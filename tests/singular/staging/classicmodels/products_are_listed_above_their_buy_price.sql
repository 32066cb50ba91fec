{{ config(severity='warn') }}

{{ odd_products('msrp < buy_price') }}
