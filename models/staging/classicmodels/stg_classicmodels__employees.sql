with source as (

    select * from {{ source('classicmodels', 'employees') }}
    where _deleted_at is null

),

renamed as (

    select
        -- keys
        cast(employeenumber as integer) as employee_number,
        cast(reportsto as integer) as manager_employee_number,
        {{ clean_text('officecode') }} as office_code,

        -- attributes
        {{ clean_text('firstname') }} as first_name,
        {{ clean_text('lastname') }} as last_name,
        {{ clean_text('jobtitle') }} as job_title,
        {{ clean_text('extension') }} as extension,
        {{ clean_text('email') }} as email,

        -- metadata
        _loaded_at,
        _batch_id

    from source

)

select * from renamed
