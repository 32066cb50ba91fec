with order_lines as (

    select * from {{ ref('stg_classicmodels__order_details') }}

),

-- The quantity of a large order: a few wrong ones, however large, do not move it.
usual as (

    select percentile_cont(0.95) within group (order by quantity_ordered) as large_quantity
    from order_lines

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
