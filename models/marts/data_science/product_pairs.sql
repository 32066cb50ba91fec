{{ config(unique_key='product_pair_key') }}

with fact_orders as (

    select * from {{ ref('fact_orders') }}

),

-- A number is compared sooner than a key, and there are millions of pairs to compare.
products as (

    select
        *,
        row_number() over (order by product_key) as product_number
    from {{ ref('dim_products_current') }}

),

data_through as (

    select * from {{ ref('int_data_through') }}

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

orders as (

    select count(distinct order_number) as order_count from order_lines

),

sold as (

    select
        product_number,
        count(*) as order_count
    from order_lines
    group by product_number

),

-- Each pair once; an order has a product on one line only.
together as (

    select
        one.product_number,
        other.product_number as partner_number,
        count(*) as pair_order_count

    from order_lines as one
    -- orders of one line have no pair
    inner join order_lines as other
        on
            one.order_number = other.order_number
            and one.product_number < other.product_number
    group by
        one.product_number,
        other.product_number
    having count(*) >= 3

),

both_ways as (

    select
        product_number,
        partner_number,
        pair_order_count
    from together

    union all

    select
        partner_number as product_number,
        product_number as partner_number,
        pair_order_count
    from together

),

measured as (

    select
        both_ways.product_number,
        both_ways.partner_number,
        both_ways.pair_order_count,
        sold.order_count,
        partners.order_count as partner_order_count,
        orders.order_count as all_order_count,
        {{ cosine_millionths(
            'both_ways.pair_order_count', 'sold.order_count', 'partners.order_count'
        ) }} as cosine_millionths

    from both_ways
    left join sold on both_ways.product_number = sold.product_number
    left join sold as partners on both_ways.partner_number = partners.product_number
    -- one row
    cross join orders

),

ranked as (

    select
        *,
        row_number() over (
            partition by product_number
            order by cosine_millionths desc, pair_order_count desc, partner_number asc
        ) as partner_rank
    from measured

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
        {{ quotient('ranked.pair_order_count', 'ranked.all_order_count', 6) }} as support,
        {{ quotient(
            'ranked.pair_order_count * ranked.all_order_count',
            'ranked.order_count * ranked.partner_order_count',
            4
        ) }} as lift,
        cast(ranked.cosine_millionths * 0.000001 as numeric(18, 6)) as cosine,

        -- dates
        data_through.data_through_date

    from ranked
    left join products on ranked.product_number = products.product_number
    left join products as partners on ranked.partner_number = partners.product_number
    -- one row
    cross join data_through
    where ranked.partner_rank <= 10

)

select * from final
