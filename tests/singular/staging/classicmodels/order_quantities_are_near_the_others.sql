with order_lines as (

    select * from {{ ref('stg_classicmodels__order_details') }}

),

-- There are few quantities, and counting them costs less than sorting the lines.
quantities as (

    select
        quantity_ordered,
        count(*) as line_count
    from {{ ref('stg_classicmodels__order_details') }}
    where quantity_ordered is not null
    group by quantity_ordered

),

counted_quantities as (

    select
        quantity_ordered,
        sum(line_count) over (order by quantity_ordered rows unbounded preceding) as lines_until,
        sum(line_count) over () as all_lines
    from quantities

),

-- The quantity of a large order: a few wrong ones, however large, do not move it.
usual as (

    select min(quantity_ordered) as large_quantity
    from counted_quantities
    where lines_until * 100 >= all_lines * 95

)

select
    order_lines.order_number,
    order_lines.order_line_number,
    order_lines.product_code,
    order_lines.quantity_ordered,
    order_lines.price_each,
    order_lines.quantity_ordered * order_lines.price_each as amount

from order_lines
-- one row
inner join usual
    on order_lines.quantity_ordered > usual.large_quantity * {{ var('max_quantity_ratio') }}
