{{ config(unique_key='product_pair_key') }}

with counted_pairs as (

    select * from {{ ref('int_product_pairs_counted') }}

),

product_orders as (

    select
        product_code,
        order_count
    from counted_pairs
    where product_code = partner_product_code

),

products as (

    select * from {{ ref('dim_products_current') }}

),

-- Numbers in the order of the keys sort faster than keys, and there are many pairs to rank.
numbered_products as (

    select
        products.product_key,
        products.product_code,
        products.product_name,
        product_orders.order_count,
        row_number() over (order by products.product_key) as product_number

    from products
    left join product_orders on products.product_code = product_orders.product_code

),

pairs as (

    select
        products.product_number,
        partners.product_number as partner_number,
        counted_pairs.order_count as pair_order_count,
        {{ cosine_millionths(
            'counted_pairs.order_count', 'products.order_count', 'partners.order_count'
        ) }} as cosine_millionths

    from counted_pairs
    left join numbered_products as products on counted_pairs.product_code = products.product_code
    left join numbered_products as partners
        on counted_pairs.partner_product_code = partners.product_code
    where
        counted_pairs.product_code <> counted_pairs.partner_product_code
        and counted_pairs.order_count >= 3

),

pairs_both_ways as (

    select
        product_number,
        partner_number,
        pair_order_count,
        cosine_millionths
    from pairs

    union all

    select
        partner_number as product_number,
        product_number as partner_number,
        pair_order_count,
        cosine_millionths
    from pairs

),

ranked as (

    select
        *,
        row_number() over (
            partition by product_number
            order by
                {{ in_order_of(['-cosine_millionths', '-pair_order_count', 'partner_number']) }}
        ) as partner_rank
    from pairs_both_ways

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
        cast(products.order_count as bigint) as order_count,
        cast(partners.order_count as bigint) as partner_order_count,
        cast(ranked.cosine_millionths * 0.000001 as numeric(18, 6)) as cosine

    from ranked
    left join numbered_products as products on ranked.product_number = products.product_number
    left join numbered_products as partners on ranked.partner_number = partners.product_number
    where ranked.partner_rank <= 10

)

select * from final
