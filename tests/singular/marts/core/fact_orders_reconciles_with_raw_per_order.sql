{{ reconciles(
    left={
        'relation': source('classicmodels', 'orderdetails'),
        'key': 'ordernumber',
        'amount': 'quantityordered * priceeach',
        'where': '_deleted_at is null',
    },
    right={'relation': ref('fact_orders'), 'key': 'order_number', 'amount': 'order_amount'},
) }}
