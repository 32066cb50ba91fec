with payments as (

    select * from {{ ref('stg_classicmodels__payments') }}

),

counted as (

    select
        customer_number,
        payment_date,
        payment_amount,
        count(*) as payment_count
    from payments
    group by
        customer_number,
        payment_date,
        payment_amount

)

select
    sum(payment_count) as payments,
    sum(payment_count - 1) as copies,
    sum((payment_count - 1) * payment_amount) as amount
from counted
having
    sum(payment_count - 1) * 100 > sum(payment_count) * {{ var('max_percent_of_rows') }}
    and sum(payment_count - 1) > 1
