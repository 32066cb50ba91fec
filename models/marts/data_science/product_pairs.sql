{{ config(unique_key='product_pair_key') }}

with counted_pairs as (

    select * from {{ ref('int_product_pairs_counted') }}

),

products as (

    select * from {{ ref('dim_products_current') }}

),

product_orders as (

    select
        product_code,
        order_count
    from counted_pairs
    where product_code = partner_product_code

),

pairs as (

    select * from counted_pairs
    where
        product_code <> partner_product_code
        and order_count >= 3

),

pairs_both_ways as (

    select
        product_code,
        partner_product_code,
        order_count as pair_order_count
    from pairs

    union all

    select
        partner_product_code as product_code,
        product_code as partner_product_code,
        order_count as pair_order_count
    from pairs

),

pair_measures as (

    select
        products.product_key,
        partner_products.product_key as partner_product_key,
        pairs_both_ways.product_code,
        pairs_both_ways.partner_product_code,
        products.product_name,
        partner_products.product_name as partner_product_name,
        pairs_both_ways.pair_order_count,
        product_orders.order_count,
        partners.order_count as partner_order_count,
        {{ cosine_millionths(
            'pairs_both_ways.pair_order_count', 'product_orders.order_count', 'partners.order_count'
        ) }} as cosine_millionths

    from pairs_both_ways
    left join product_orders on pairs_both_ways.product_code = product_orders.product_code
    left join product_orders as partners
        on pairs_both_ways.partner_product_code = partners.product_code
    left join products on pairs_both_ways.product_code = products.product_code
    left join products as partner_products
        on pairs_both_ways.partner_product_code = partner_products.product_code

),

ranked as (

    select
        *,
        row_number() over (
            partition by product_key
            order by cosine_millionths desc, pair_order_count desc, partner_product_key asc
        ) as partner_rank
    from pair_measures

),

final as (

    select
        -- keys
        {{ entity_key(['product_key', 'partner_product_key']) }} as product_pair_key,
        product_key,
        partner_product_key,
        product_code,
        partner_product_code,

        -- attributes
        product_name,
        partner_product_name,

        -- numbers
        cast(partner_rank as integer) as partner_rank,
        cast(pair_order_count as bigint) as pair_order_count,
        cast(order_count as bigint) as order_count,
        cast(partner_order_count as bigint) as partner_order_count,
        cast(cosine_millionths * 0.000001 as numeric(18, 6)) as cosine

    from ranked
    where partner_rank <= 10

)

select * from final
