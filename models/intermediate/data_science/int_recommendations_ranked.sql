with order_lines as (

    select * from {{ ref('int_order_lines_learned') }}

),

cases as (

    select * from {{ ref('int_recommendation_cases_chosen') }}

),

shown as (

    select * from cases
    where not is_hidden

),

products_before as (

    select * from {{ ref('int_product_orders_accumulated') }}

),

-- Pairs by the rules of product_pairs.
pairs_before as (

    select
        shown.case_number,
        shown.order_date as case_date,
        shown.product_number,
        partner_lines.product_number as partner_number,
        count(*) as pair_order_count

    from shown
    -- only earlier orders with the product, and what else they had
    inner join order_lines as earlier_lines
        on
            shown.product_number = earlier_lines.product_number
            and shown.order_date > earlier_lines.order_date
    inner join order_lines as partner_lines
        on
            earlier_lines.order_number = partner_lines.order_number
            and earlier_lines.product_number <> partner_lines.product_number
    group by
        shown.case_number,
        shown.order_date,
        shown.product_number,
        partner_lines.product_number
    having count(*) >= 3

),

pair_cosines as (

    select
        pairs_before.case_number,
        pairs_before.product_number,
        pairs_before.partner_number,
        pairs_before.pair_order_count,
        {{ cosine_millionths(
            'pairs_before.pair_order_count', 'products.order_count', 'partners.order_count'
        ) }} as cosine_millionths

    from pairs_before
    left join products_before as products
        on
            pairs_before.product_number = products.product_number
            and pairs_before.case_date = products.case_date
    left join products_before as partners
        on
            pairs_before.partner_number = partners.product_number
            and pairs_before.case_date = partners.case_date

),

ranked_partners as (

    select
        *,
        row_number() over (
            partition by case_number, product_number
            order by cosine_millionths desc, pair_order_count desc, partner_number asc
        ) as partner_rank
    from pair_cosines

),

candidates as (

    select
        'Bought together' as method,
        case_number,
        partner_number as product_number,
        sum(cosine_millionths) as score
    from ranked_partners
    where partner_rank <= 10
    group by
        case_number,
        partner_number

    union all

    select
        'Popularity' as method,
        cases.case_number,
        products_before.product_number,
        products_before.order_count as score

    from cases
    -- a first order has nothing before it
    inner join products_before on cases.order_date = products_before.case_date
    where
        cases.is_hidden
        and products_before.order_count > 0

),

-- A product that is in the order already is not recommended.
final as (

    select
        -- keys
        candidates.method,
        candidates.case_number,
        candidates.product_number,

        -- numbers
        row_number() over (
            partition by candidates.method, candidates.case_number
            order by candidates.score desc, candidates.product_number asc
        ) as recommendation_rank

    from candidates
    left join shown
        on
            candidates.case_number = shown.case_number
            and candidates.product_number = shown.product_number
    where shown.product_number is null

)

select * from final
