with order_lines as (

    select * from {{ ref('int_order_lines_learned') }}

),

case_days as (

    select distinct order_date as case_date from {{ ref('int_recommendation_cases_chosen') }}

),

order_days as (

    select distinct order_date from order_lines

),

-- The first day of a case by which an order counts, for each day with orders.
first_case_days as (

    select
        order_days.order_date,
        min(case_days.case_date) as case_date

    from order_days
    -- orders after the last case count for none
    inner join case_days on order_days.order_date < case_days.case_date
    group by order_days.order_date

),

orders_by_case_day as (

    select
        order_lines.product_number,
        first_case_days.case_date,
        count(*) as order_count

    from order_lines
    -- as above
    inner join first_case_days on order_lines.order_date = first_case_days.order_date
    group by
        order_lines.product_number,
        first_case_days.case_date

),

products as (

    select distinct product_number from orders_by_case_day

),

final as (

    select
        -- keys
        products.product_number,

        -- numbers
        cast(sum(coalesce(orders_by_case_day.order_count, 0)) over (
            partition by products.product_number
            order by case_days.case_date
            rows between unbounded preceding and current row
        ) as bigint) as order_count,

        -- dates
        case_days.case_date

    from products
    -- each product on each day
    cross join case_days
    left join orders_by_case_day
        on
            products.product_number = orders_by_case_day.product_number
            and case_days.case_date = orders_by_case_day.case_date

)

select * from final
