{{ config(materialized='view') }}

with employees as (

    select * from {{ ref('dim_employees') }}

),

final as (

    select
        {{ contract_columns() | map(attribute='name') | join(',\n        ') }}
    from employees
    where is_current

)

select * from final
