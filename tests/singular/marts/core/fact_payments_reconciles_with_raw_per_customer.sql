{{ reconciles(
    left={
        'relation': source('classicmodels', 'payments'),
        'key': 'customernumber',
        'amount': 'cast(amount as numeric(12, 2))',
        'where': '_deleted_at is null',
    },
    right={'relation': ref('fact_payments'), 'key': 'customer_number', 'amount': 'payment_amount'},
) }}
