{{ config(materialized='view') }}

with products as (

    select * from {{ ref('dim_products') }}

),

final as (

    select
        {{ contract_columns() | map(attribute='name') | join(',\n        ') }}
    from products
    where is_current

)

select * from final
