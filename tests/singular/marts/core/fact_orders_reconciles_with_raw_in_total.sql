-- No line lost or doubled, no cent more or less, over all orders.
{{ reconciles(
    left={
        'relation': source('classicmodels', 'orderdetails'),
        'amount': 'quantityordered * priceeach',
        'where': '_deleted_at is null',
    },
    right={'relation': ref('fact_orders'), 'amount': 'order_amount'},
) }}
