{{ config(severity='warn') }}

with payments as (

    select * from {{ ref('stg_classicmodels__payments') }}

)

select
    customer_number,
    payment_date,
    min(check_number) as check_number,
    max(check_number) as other_check_number,
    count(*) as payment_count,
    -- what the customer paid if only one of them is true would be less by this
    (count(*) - 1) * payment_amount as amount
from payments
group by
    customer_number,
    payment_date,
    payment_amount
having count(*) > 1
