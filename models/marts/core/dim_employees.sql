with employees as (

    select * from {{ ref('stg_classicmodels__employees') }}

),

offices as (

    select * from {{ ref('dim_offices') }}

),

named as (

    select
        *,
        {{ full_name('first_name', 'last_name') }} as employee_name
    from employees

),

known as (

    select
        -- keys
        {{ entity_key(['employees.employee_number']) }} as employee_key,
        {{ entity_key(['managers.employee_number']) }} as manager_key,
        coalesce(offices.office_key, '-1') as office_key,
        employees.employee_number,
        employees.manager_employee_number,
        employees.office_code,

        -- attributes
        employees.employee_name,
        employees.first_name,
        employees.last_name,
        employees.job_title,
        employees.extension,
        employees.email,
        managers.employee_name as manager_name,
        managers.job_title as manager_job_title,
        coalesce(offices.city, 'Unknown') as office_city,
        offices.state as office_state,
        coalesce(offices.country, 'Unknown') as office_country,
        coalesce(offices.territory, 'Unknown') as office_territory

    from named as employees
    left join named as managers
        on employees.manager_employee_number = managers.employee_number
    left join offices on employees.office_code = offices.office_code

),

final as (

    select * from known

    union all

    select
        '-1' as employee_key,
        '-1' as manager_key,
        '-1' as office_key,
        -1 as employee_number,
        null as manager_employee_number,
        'Unknown' as office_code,
        'Unknown' as employee_name,
        'Unknown' as first_name,
        'Unknown' as last_name,
        'Unknown' as job_title,
        'Unknown' as extension,
        'Unknown' as email,
        'Unknown' as manager_name,
        'Unknown' as manager_job_title,
        'Unknown' as office_city,
        'Unknown' as office_state,
        'Unknown' as office_country,
        'Unknown' as office_territory

)

select * from final
