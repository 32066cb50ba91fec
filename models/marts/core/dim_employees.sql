{{ config(unique_key='employee_version_key') }}

with employees as (

    {{ snapshot_versions(ref('employees_snapshot'), 'employee_number') }}

),

offices as (

    {{ snapshot_versions(ref('offices_snapshot'), 'office_code') }}

),

named as (

    select
        *,
        {{ full_name('first_name', 'last_name') }} as employee_name
    from employees

),

-- A version of the employee for each version of office and manager that it overlaps.
placed as (

    select
        -- keys
        {{ entity_key(['managers.employee_number']) }} as manager_key,
        {{ entity_key(['offices.office_code']) }} as office_key,
        named.employee_number,
        named.manager_employee_number,
        named.office_code,

        -- attributes
        named.employee_name,
        named.first_name,
        named.last_name,
        named.job_title,
        named.extension,
        named.email,
        managers.employee_name as manager_name,
        managers.job_title as manager_job_title,
        coalesce(offices.city, 'Unknown') as office_city,
        offices.state as office_state,
        coalesce(offices.country, 'Unknown') as office_country,
        coalesce(offices.territory, 'Unknown') as office_territory,

        -- flags
        named.is_deleted,

        -- dates
        greatest(named.valid_from, offices.valid_from, managers.valid_from) as valid_from,
        least(named.valid_to, offices.valid_to, managers.valid_to) as valid_to,

        -- metadata
        greatest(named.dbt_valid_from, offices.dbt_valid_from, managers.dbt_valid_from)
            as _loaded_at

    from named
    left join offices
        on
            named.office_code = offices.office_code
            and named.valid_from < offices.valid_to
            and named.valid_to > offices.valid_from
    left join named as managers
        on
            named.manager_employee_number = managers.employee_number
            and greatest(named.valid_from, offices.valid_from) < managers.valid_to
            and least(named.valid_to, offices.valid_to) > managers.valid_from

),

versions as (

    {{ merged_versions('placed', [
        'employee_number', 'manager_key', 'office_key', 'manager_employee_number', 'office_code',
        'employee_name', 'first_name', 'last_name', 'job_title', 'extension', 'email',
        'manager_name', 'manager_job_title', 'office_city', 'office_state', 'office_country',
        'office_territory', 'is_deleted',
    ]) }}

),

final as (

    select
        -- keys
        {{ entity_key(['employee_number', 'valid_from']) }} as employee_version_key,
        {{ entity_key(['employee_number']) }} as employee_key,
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

        -- numbers
        cast(version_number as integer) as version_number,

        -- flags
        is_current,
        is_deleted,

        -- dates
        valid_from,
        valid_to,

        -- metadata
        _loaded_at

    from versions

    union all

    select
        '-1' as employee_version_key,
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
        'Unknown' as office_territory,
        1 as version_number,
        true as is_current,
        false as is_deleted,
        {{ beginning_of_time() }} as valid_from,
        {{ end_of_time() }} as valid_to,
        {{ beginning_of_time() }} as _loaded_at

)

select * from final
