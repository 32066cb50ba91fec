-- Marts of several groups read it.
{{ config(access='protected') }}

with orders as (

    select * from {{ ref('stg_classicmodels__orders') }}

),

payments as (

    select * from {{ ref('stg_classicmodels__payments') }}

),

business_days as (

    select greatest(max(order_date), max(shipped_date)) as business_date from orders
    union all
    select max(payment_date) as business_date from payments

),

final as (

    select max(business_date) as data_through_date
    from business_days

)

select * from final
