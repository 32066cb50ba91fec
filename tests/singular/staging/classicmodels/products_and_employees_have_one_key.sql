{{ config(severity='warn') }}

with named_products as (

    select
        *,
        {{ comparable_text('product_name') }} as comparable_name
    from {{ ref('stg_classicmodels__products') }}

),

-- Before the join: only of those that look alike are the order lines looked up.
products as (

    select
        *,
        count(*) over (partition by comparable_name, product_vendor, product_scale) as alike_count
    from named_products

),

employees as (

    select
        *,
        {{ comparable_text('email') }} as comparable_email
    from {{ ref('stg_classicmodels__employees') }}

),

order_lines as (

    select * from {{ ref('stg_classicmodels__order_details') }}

)

select
    'product' as entity,
    min(products.product_code) as first_key,
    max(products.product_code) as other_key,
    count(distinct products.product_code) as key_count,
    coalesce(sum(order_lines.quantity_ordered * order_lines.price_each), 0) as amount

from products
left join order_lines on products.product_code = order_lines.product_code
where products.alike_count > 1
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
