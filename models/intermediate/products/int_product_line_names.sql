with product_lines as (

    select * from {{ ref('product_lines_snapshot') }}

),

products as (

    select * from {{ ref('products_snapshot') }}

),

spellings as (

    select
        product_line,
        1 as preference,
        dbt_valid_from
    from product_lines
    union all
    select
        product_line,
        2 as preference,
        dbt_valid_from
    from products

),

first_seen as (

    select
        product_line,
        min(preference) as preference,
        min(dbt_valid_from) as first_seen_at
    from spellings
    where product_line is not null
    group by product_line

),

-- The line's own row before those of products, the oldest spelling first, then Ships before SHIPS
-- before ships.
ranked as (

    select
        product_line,
        preference,
        first_value(product_line) over (
            partition by {{ comparable_text('product_line') }}
            order by
                preference,
                first_seen_at,
                case product_line
                    when lower(product_line) then 3
                    when upper(product_line) then 2
                    else 1
                end,
                {{ dbt.hash('product_line') }}
            rows between unbounded preceding and unbounded following
        ) as standard_name
    from first_seen

),

final as (

    select
        product_line,
        standard_name,
        -- A spelling that only products have.
        case preference when 1 then product_line else standard_name end as described_name
    from ranked

)

select * from final
