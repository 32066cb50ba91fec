-- Each customer has as many payments, and the same sum to the cent, as the shop's own table says.
{{ reconciles(
    left={
        'relation': source('classicmodels', 'payments'),
        'key': 'customernumber',
        'amount': 'amount',
        'where': '_deleted_at is null',
    },
    right={'relation': ref('fact_payments'), 'key': 'customer_number', 'amount': 'payment_amount'},
) }}
