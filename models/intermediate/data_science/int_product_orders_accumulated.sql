with order_lines as (

    select * from {{ ref('int_order_lines_numbered') }}

),

case_days as (

    select distinct order_date as case_date from {{ ref('int_recommendation_cases_chosen') }}

),

order_days as (

    select distinct order_date from order_lines

),

-- The first day of a case by which an order counts, for each day with orders.
counted_from as (

    select
        order_days.order_date,
        min(case_days.case_date) as case_date

    from order_days
    -- orders after the last case count for none
    inner join case_days on order_days.order_date < case_days.case_date
    group by order_days.order_date

),

added as (

    select
        order_lines.product_number,
        counted_from.case_date,
        count(*) as order_count

    from order_lines
    -- as above
    inner join counted_from on order_lines.order_date = counted_from.order_date
    group by
        order_lines.product_number,
        counted_from.case_date

),

products as (

    select distinct product_number from added

),

final as (

    select
        -- keys
        products.product_number,

        -- numbers
        cast(sum(coalesce(added.order_count, 0)) over (
            partition by products.product_number
            order by case_days.case_date
            rows between unbounded preceding and current row
        ) as bigint) as order_count,

        -- dates
        case_days.case_date

    from products
    -- each product on each day
    cross join case_days
    left join added
        on
            products.product_number = added.product_number
            and case_days.case_date = added.case_date

)

select * from final
