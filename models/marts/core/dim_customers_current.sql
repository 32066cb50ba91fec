{{ config(materialized='view') }}

with customers as (

    select * from {{ ref('dim_customers') }}

),

final as (

    select
        {{ contract_columns() | map(attribute='name') | join(',\n        ') }}
    from customers
    where is_current

)

select * from final
