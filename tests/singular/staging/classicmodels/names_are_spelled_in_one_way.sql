{{ config(severity='warn') }}

{% set of_customers = ['country', 'state', 'city'] -%}
{%- set of_products = ['product_line', 'product_scale', 'product_vendor'] -%}
{%- set of_others = {
    'product_lines': ['product_line'], 'offices': ['country', 'state', 'city'],
    'employees': ['job_title'],
} -%}
{#- Without new names there are no new spellings. -#}
{%- set names_in_question = 'where 1 = 0' if is_same_as_tested(
    ['customers', 'products', 'productlines', 'offices', 'employees']
) %}

with orders as (

    select * from {{ ref('stg_classicmodels__orders') }}

),

order_lines as (

    select * from {{ ref('stg_classicmodels__order_details') }}

),

-- Twice, because PostgreSQL would write out one with two uses.
product_order_lines as (

    select * from {{ ref('stg_classicmodels__order_details') }}

),

names as (

    {% for column_name in of_customers %}
    select
        '{{ column_name }}' as column_name,
        {{ column_name }} as spelling,
        customer_number,
        null as product_code
    from {{ ref('stg_classicmodels__customers') }}
    {{ names_in_question }}
    union all
    {%- endfor %}
    {%- for column_name in of_products %}
    select
        '{{ column_name }}' as column_name,
        {{ column_name }} as spelling,
        null as customer_number,
        product_code
    from {{ ref('stg_classicmodels__products') }}
    {{ names_in_question }}
    union all
    {%- endfor %}
    {%- for entity, column_names in of_others.items() %}
    {%- set last_entity = loop.last %}
    {%- for column_name in column_names %}
    select
        '{{ column_name }}' as column_name,
        {{ column_name }} as spelling,
        null as customer_number,
        null as product_code
    from {{ ref('stg_classicmodels__' ~ entity) }}
    {{ names_in_question }}
    {{ 'union all' if not (loop.last and last_entity) }}
    {%- endfor %}
    {%- endfor %}

),

spellings as (

    select
        column_name,
        spelling,
        count(*) as row_count
    from names
    group by
        column_name,
        spelling

),

odd_names as (

    select
        column_name,
        {{ comparable_text('spelling') }} as comparable_name,
        min(spelling) as first_spelling,
        max(spelling) as other_spelling,
        sum(row_count) as row_count
    from spellings
    group by
        column_name,
        {{ comparable_text('spelling') }}
    having count(*) > 1

),

-- Before the joins: only of these are the order lines looked up.
odd_rows as (

    select
        odd_names.column_name,
        odd_names.comparable_name,
        names.customer_number,
        names.product_code

    from names
    -- only those that have another spelling
    inner join odd_names
        on
            names.column_name = odd_names.column_name
            and {{ comparable_text('names.spelling') }} = odd_names.comparable_name

),

amounts as (

    select
        odd_rows.column_name,
        odd_rows.comparable_name,
        order_lines.quantity_ordered * order_lines.price_each as amount

    from odd_rows
    -- what has no lines has no amount
    inner join orders on odd_rows.customer_number = orders.customer_number
    inner join order_lines on orders.order_number = order_lines.order_number
    union all
    select
        odd_rows.column_name,
        odd_rows.comparable_name,
        product_order_lines.quantity_ordered * product_order_lines.price_each as amount

    from odd_rows
    inner join product_order_lines on odd_rows.product_code = product_order_lines.product_code

),

summed as (

    select
        column_name,
        comparable_name,
        sum(amount) as amount
    from amounts
    group by
        column_name,
        comparable_name

)

select
    odd_names.column_name,
    odd_names.first_spelling,
    odd_names.other_spelling,
    odd_names.row_count,
    coalesce(summed.amount, 0) as amount

from odd_names
left join summed
    on
        odd_names.column_name = summed.column_name
        and odd_names.comparable_name = summed.comparable_name
