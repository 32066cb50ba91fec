with payments as (

    select * from {{ ref('stg_classicmodels__payments') }}

),

plausible_days as (

    select * from {{ ref('int_plausible_days') }}

)

select
    payments.customer_number,
    payments.check_number,
    payments.payment_date,
    payments.payment_amount as amount

from payments
-- one row
inner join plausible_days
    on
        payments.payment_date < plausible_days.first_date
        or payments.payment_date > plausible_days.last_date
        and payments.payment_date <= cast(payments._loaded_at as date) + 1
