{{ config(unique_key='method') }}

with fact_orders as (

    select * from {{ ref('fact_orders') }}

),

-- A number is compared sooner than a key, and there are millions of pairs to compare.
products as (

    select
        product_key,
        row_number() over (order by product_key) as product_number
    from {{ ref('dim_products_current') }}

),

data_through as (

    select * from {{ ref('int_data_through') }}

),

order_lines as (

    select
        fact_orders.order_line_key,
        fact_orders.customer_key,
        fact_orders.order_number,
        fact_orders.order_date,
        products.product_number

    from fact_orders
    left join products on fact_orders.product_key = products.product_key
    where
        fact_orders.is_revenue
        and fact_orders.customer_key <> '-1'
        and fact_orders.product_key <> '-1'
        and fact_orders.order_date is not null

),

baskets as (

    select
        customer_key,
        order_number,
        order_date,
        count(*) as line_count
    from order_lines
    group by
        customer_key,
        order_number,
        order_date

),

newest_first as (

    select
        *,
        row_number() over (
            partition by customer_key
            order by order_date desc, order_number desc
        ) as newest
    from baskets

),

-- Keys are hashes: to take customers by them is to take them at random, and the same each time.
numbered as (

    select
        *,
        row_number() over (order by customer_key) as case_number
    from newest_first
    where
        newest = 1
        and line_count > 1

),

-- More cases than these would take long in a large shop, and hardly change the rate.
cases as (

    select
        case_number,
        order_number,
        order_date
    from numbered
    where case_number <= 500

),

-- Line keys are hashes too: the least of them is any line of the order.
shown_or_hidden as (

    select
        cases.case_number,
        cases.order_date,
        order_lines.product_number,
        row_number() over (
            partition by cases.case_number
            order by order_lines.order_line_key
        ) = 1 as is_hidden

    from cases
    left join order_lines on cases.order_number = order_lines.order_number

),

hidden as (

    select * from shown_or_hidden
    where is_hidden

),

shown as (

    select * from shown_or_hidden
    where not is_hidden

),

-- How often each product was ordered before the day of each case, counted from day to day.
case_days as (

    select distinct order_date from cases

),

line_days as (

    select distinct order_date from order_lines

),

next_case_days as (

    select
        line_days.order_date,
        min(case_days.order_date) as case_date

    from line_days
    -- lines after the last case are of no use
    inner join case_days on line_days.order_date < case_days.order_date
    group by line_days.order_date

),

counted as (

    select
        order_lines.product_number,
        next_case_days.case_date,
        count(*) as order_count

    from order_lines
    -- as above
    inner join next_case_days on order_lines.order_date = next_case_days.order_date
    group by
        order_lines.product_number,
        next_case_days.case_date

),

known_products as (

    select distinct product_number from counted

),

sold_before as (

    select
        known_products.product_number,
        case_days.order_date as case_date,
        sum(coalesce(counted.order_count, 0)) over (
            partition by known_products.product_number
            order by case_days.order_date
            rows between unbounded preceding and current row
        ) as order_count

    from known_products
    -- each product on each day
    cross join case_days
    left join counted
        on
            known_products.product_number = counted.product_number
            and case_days.order_date = counted.case_date

),

-- What was bought together before, by the rules of product_pairs.
together as (

    select
        shown.case_number,
        shown.order_date as case_date,
        shown.product_number,
        partners.product_number as partner_number,
        count(*) as pair_order_count

    from shown
    -- only earlier orders with the product, and what else they had
    inner join order_lines as earlier
        on
            shown.product_number = earlier.product_number
            and shown.order_date > earlier.order_date
    inner join order_lines as partners
        on
            earlier.order_number = partners.order_number
            and earlier.product_number <> partners.product_number
    group by
        shown.case_number,
        shown.order_date,
        shown.product_number,
        partners.product_number
    having count(*) >= 3

),

measured as (

    select
        together.case_number,
        together.product_number,
        together.partner_number,
        together.pair_order_count,
        {{ cosine_millionths(
            'together.pair_order_count', 'sold.order_count', 'sold_partners.order_count'
        ) }} as cosine_millionths

    from together
    left join sold_before as sold
        on
            together.product_number = sold.product_number
            and together.case_date = sold.case_date
    left join sold_before as sold_partners
        on
            together.partner_number = sold_partners.product_number
            and together.case_date = sold_partners.case_date

),

ranked_partners as (

    select
        *,
        row_number() over (
            partition by case_number, product_number
            order by cosine_millionths desc, pair_order_count desc, partner_number asc
        ) as partner_rank
    from measured

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
        sold_before.product_number,
        sold_before.order_count as score

    from cases
    -- a first order has nothing before it
    inner join sold_before on cases.order_date = sold_before.case_date
    where sold_before.order_count > 0

),

-- Nobody is recommended what is in the order already.
recommended as (

    select
        candidates.method,
        candidates.case_number,
        candidates.product_number,
        row_number() over (
            partition by candidates.method, candidates.case_number
            order by candidates.score desc, candidates.product_number asc
        ) as place

    from candidates
    left join shown
        on
            candidates.case_number = shown.case_number
            and candidates.product_number = shown.product_number
    where shown.product_number is null

),

hits as (

    select
        recommended.method,
        count(*) as hit_count

    from recommended
    -- hits only
    inner join hidden
        on
            recommended.case_number = hidden.case_number
            and recommended.product_number = hidden.product_number
    where recommended.place <= 10
    group by recommended.method

),

methods as (

    select 'Bought together' as method
    union all
    select 'Popularity' as method

),

tried as (

    select count(*) as case_count from cases

),

counts as (

    select
        methods.method,
        tried.case_count,
        coalesce(hits.hit_count, 0) as hit_count

    from methods
    left join hits on methods.method = hits.method
    -- one row
    cross join tried

),

final as (

    select
        -- keys
        cast(counts.method as varchar(15)) as method,

        -- numbers
        cast(counts.case_count as bigint) as case_count,
        cast(counts.hit_count as bigint) as hit_count,
        {{ quotient('counts.hit_count * 100', 'counts.case_count', 2) }} as hit_rate_percent,

        -- dates
        data_through.data_through_date

    from counts
    -- one row
    cross join data_through

)

select * from final
