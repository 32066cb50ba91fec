{{ reconciles(
    left={
        'relation': source('classicmodels', 'payments'),
        'amount': 'amount',
        'where': '_deleted_at is null',
    },
    right={'relation': ref('fact_payments'), 'amount': 'payment_amount'},
) }}
