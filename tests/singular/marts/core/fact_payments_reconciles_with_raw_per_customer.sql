{{ reconciles(
    left={
        'relation': source('classicmodels', 'payments'),
        'key': 'customernumber',
        'amount': 'amount',
        'where': '_deleted_at is null',
    },
    right={'relation': ref('fact_payments'), 'key': 'customer_number', 'amount': 'payment_amount'},
) }}
