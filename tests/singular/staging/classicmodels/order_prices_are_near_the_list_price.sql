{{ odd_order_lines(
    'order_lines.price_each > products.msrp * ' ~ var('max_price_ratio') ~ ' and products.msrp > 0'
) }}
