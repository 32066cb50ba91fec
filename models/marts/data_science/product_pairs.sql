{{ config(unique_key='product_pair_key') }}

with fact_orders as (

    select * from {{ ref('fact_orders') }}

),

-- Integers compare faster than hash keys, and there are millions of pairs to compare.
products as (

    select
        *,
        row_number() over (order by product_key) as product_number
    from {{ ref('dim_products_current') }}

),

order_lines as (

    select
        fact_orders.order_number,
        products.product_number

    from fact_orders
    left join products on fact_orders.product_key = products.product_key
    where
        fact_orders.is_revenue
        and fact_orders.product_key <> '-1'

),

product_orders as (

    select
        product_number,
        count(*) as order_count
    from order_lines
    group by product_number

),

-- Each pair once; an order has a product on one line only.
pairs as (

    select
        order_lines.product_number,
        partner_lines.product_number as partner_number,
        count(*) as pair_order_count

    from order_lines
    -- orders of one line have no pair
    inner join order_lines as partner_lines
        on
            order_lines.order_number = partner_lines.order_number
            and order_lines.product_number < partner_lines.product_number
    group by
        order_lines.product_number,
        partner_lines.product_number
    having count(*) >= 3

),

pairs_both_ways as (

    select
        product_number,
        partner_number,
        pair_order_count
    from pairs

    union all

    select
        partner_number as product_number,
        product_number as partner_number,
        pair_order_count
    from pairs

),

pair_measures as (

    select
        pairs_both_ways.product_number,
        pairs_both_ways.partner_number,
        pairs_both_ways.pair_order_count,
        product_orders.order_count,
        partners.order_count as partner_order_count,
        {{ cosine_millionths(
            'pairs_both_ways.pair_order_count', 'product_orders.order_count', 'partners.order_count'
        ) }} as cosine_millionths

    from pairs_both_ways
    left join product_orders on pairs_both_ways.product_number = product_orders.product_number
    left join product_orders as partners on pairs_both_ways.partner_number = partners.product_number

),

ranked as (

    select
        *,
        row_number() over (
            partition by product_number
            order by cosine_millionths desc, pair_order_count desc, partner_number asc
        ) as partner_rank
    from pair_measures

),

final as (

    select
        -- keys
        {{ entity_key(['products.product_key', 'partners.product_key']) }} as product_pair_key,
        products.product_key,
        partners.product_key as partner_product_key,
        products.product_code,
        partners.product_code as partner_product_code,

        -- attributes
        products.product_name,
        partners.product_name as partner_product_name,

        -- numbers
        cast(ranked.partner_rank as integer) as partner_rank,
        cast(ranked.pair_order_count as bigint) as pair_order_count,
        cast(ranked.order_count as bigint) as order_count,
        cast(ranked.partner_order_count as bigint) as partner_order_count,
        cast(ranked.cosine_millionths * 0.000001 as numeric(18, 6)) as cosine

    from ranked
    left join products on ranked.product_number = products.product_number
    left join products as partners on ranked.partner_number = partners.product_number
    where ranked.partner_rank <= 10

)

select * from final
