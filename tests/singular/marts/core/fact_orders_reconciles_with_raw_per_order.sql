{{ reconciles(
    left={
        'relation': source('classicmodels', 'orderdetails'),
        'key': 'ordernumber',
        'amount': 'quantityordered * cast(priceeach as numeric(12, 2))',
        'where': '_deleted_at is null',
    },
    right={'relation': ref('fact_orders'), 'key': 'order_number', 'amount': 'order_amount'},
) }}
