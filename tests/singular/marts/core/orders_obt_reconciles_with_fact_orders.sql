-- The wide table has the lines and the revenue of the star, per order.
{{ reconciles(
    left={'relation': ref('fact_orders'), 'key': 'order_number', 'amount': 'revenue_amount'},
    right={'relation': ref('orders_obt'), 'key': 'order_number', 'amount': 'revenue_amount'},
) }}
