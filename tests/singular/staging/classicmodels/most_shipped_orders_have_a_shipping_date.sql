with shipped_orders as (

    select * from {{ ref('stg_classicmodels__orders') }}
    where order_status in ('Shipped', 'Resolved', 'Disputed')

)

select
    count(*) as shipped_orders,
    count(*) - count(shipped_date) as without_a_shipping_date,
    min(order_number) as first_order_number
from shipped_orders
having (count(*) - count(shipped_date)) * 100 > count(*) * {{ var('max_percent_of_rows') }}
    and count(*) - count(shipped_date) > 1
