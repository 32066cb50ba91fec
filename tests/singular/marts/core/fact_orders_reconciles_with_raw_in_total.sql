{{ reconciles(
    left={
        'relation': source('classicmodels', 'orderdetails'),
        'amount': 'quantityordered * priceeach',
        'where': '_deleted_at is null',
    },
    right={'relation': ref('fact_orders'), 'amount': 'order_amount'},
) }}
