{{ reconciles(
    left={'relation': ref('fact_orders'), 'key': 'order_number', 'amount': 'revenue_amount'},
    right={'relation': ref('orders_obt'), 'key': 'order_number', 'amount': 'revenue_amount'},
) }}
