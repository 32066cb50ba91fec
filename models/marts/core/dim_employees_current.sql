{{ config(materialized='view') }}

with employees as (

    select * from {{ ref('dim_employees') }}

),

final as (

    select
        -- keys
        employee_key,
        manager_key,
        office_key,
        employee_number,
        manager_employee_number,
        office_code,

        -- attributes
        employee_name,
        first_name,
        last_name,
        job_title,
        extension,
        email,
        manager_name,
        manager_job_title,
        office_city,
        office_state,
        office_country,
        office_territory,

        -- flags
        is_deleted

    from employees
    where is_current

)

select * from final
