{{ config(severity='warn') }}

{#- Orders change amounts, not which products and employees look alike. -#}
{%- set is_same = is_same_as_tested(['products', 'employees']) %}

with named_products as (

    select
        *,
        {{ comparable_text('product_name') }} as comparable_name
    from {{ ref('stg_classicmodels__products') }}
    {{ 'where 1 = 0' if is_same }}

),

counted_products as (

    select
        *,
        count(*) over (partition by comparable_name, product_vendor, product_scale) as alike_count
    from named_products

),

products as (

    select * from counted_products
    where alike_count > 1

),

employees as (

    select
        *,
        {{ comparable_text('email') }} as comparable_email
    from {{ ref('stg_classicmodels__employees') }}
    {{ 'where 1 = 0' if is_same }}

),

-- Before the join: only of those that look alike, and one row each.
amounts as (

    select
        product_code,
        sum(quantity_ordered * price_each) as amount
    from {{ ref('stg_classicmodels__order_details') }}
    where product_code in (select products.product_code from products)
    group by product_code

)

select
    'product' as entity,
    min(products.product_code) as first_key,
    max(products.product_code) as other_key,
    count(distinct products.product_code) as key_count,
    coalesce(sum(amounts.amount), 0) as amount

from products
left join amounts on products.product_code = amounts.product_code
group by
    products.comparable_name,
    products.product_vendor,
    products.product_scale
having count(distinct products.product_code) > 1

union all

select
    'employee' as entity,
    min(cast(employee_number as {{ dbt.type_string() }})) as first_key,
    max(cast(employee_number as {{ dbt.type_string() }})) as other_key,
    count(*) as key_count,
    0 as amount

from employees
group by
    comparable_email,
    first_name,
    last_name
having count(*) > 1
