{{ config(severity='warn') }}

with customers as (

    select * from {{ ref('stg_classicmodels__customers') }}

),

-- A large limit: a few wrong ones, however large, do not move it.
usual as (

    select percentile_cont(0.95) within group (order by credit_limit) as large_limit
    from customers

)

select
    customers.customer_number,
    usual.large_limit,
    customers.credit_limit as amount

from customers
-- one row
inner join usual
    on customers.credit_limit > usual.large_limit * {{ var('max_quantity_ratio') }}
