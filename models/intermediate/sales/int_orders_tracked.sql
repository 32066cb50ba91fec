with orders as (

    select * from {{ ref('stg_classicmodels__orders') }}

),

final as (

    select
        *,
        {{ order_milestones() }}

    from orders

)

select * from final
