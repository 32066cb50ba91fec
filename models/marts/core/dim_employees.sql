{{ config(unique_key='employee_version_key', meta={'history_of': 'employee_number'}) }}
{%- set since = built_through() %}

with {% if since -%}
-- Employees that have a new version, or whose manager or office has.
changed_employees as (

    select employee_number from {{ ref('employees_snapshot') }}
    where
        dbt_valid_from > {{ since }}
        or manager_employee_number in (
            select employee_number from {{ ref('employees_snapshot') }}
            where dbt_valid_from > {{ since }}
        )
        or office_code in (
            select office_code from {{ ref('offices_snapshot') }}
            where dbt_valid_from > {{ since }}
        )

),

{% endif -%}

employees as (

    {{ snapshot_versions(ref('employees_snapshot'), 'employee_number') }}

),

office_versions as (

    {{ snapshot_versions(ref('offices_snapshot'), 'office_code') }}

),

locations as (

    select * from {{ ref('int_addresses_located') }}

),

offices as (

    select
        office_versions.office_code,
        office_versions.city,
        office_versions.state,
        coalesce(locations.country, office_versions.country) as country,
        office_versions.territory,
        office_versions.valid_from,
        office_versions.valid_to,
        office_versions.dbt_valid_from

    from office_versions
    left join locations
        on
            {{ entity_key([
                'office_versions.country', 'office_versions.state',
                'office_versions.city', 'office_versions.postal_code'
            ]) }} = locations.location_key

),

named_employees as (

    select
        *,
        {{ full_name('first_name', 'last_name') }} as employee_name
    from employees

),

-- A version of the employee for each version of office and manager that it overlaps.
described as (

    select
        -- keys
        {{ entity_key(['named_employees.employee_number']) }} as employee_key,
        {{ entity_key(['managers.employee_number']) }} as manager_key,
        {{ entity_key(['offices.office_code']) }} as office_key,
        named_employees.employee_number,
        named_employees.manager_employee_number,
        named_employees.office_code,

        -- attributes
        named_employees.employee_name,
        named_employees.first_name,
        named_employees.last_name,
        named_employees.job_title,
        named_employees.extension,
        named_employees.email,
        managers.employee_name as manager_name,
        managers.job_title as manager_job_title,
        coalesce(offices.city, 'Unknown') as office_city,
        offices.state as office_state,
        coalesce(offices.country, 'Unknown') as office_country,
        coalesce(offices.territory, 'Unknown') as office_territory,

        -- flags
        named_employees.is_deleted,

        -- dates
        greatest(named_employees.valid_from, offices.valid_from, managers.valid_from) as valid_from,
        least(named_employees.valid_to, offices.valid_to, managers.valid_to) as valid_to,

        -- metadata
        greatest(named_employees.dbt_valid_from, offices.dbt_valid_from, managers.dbt_valid_from)
            as _loaded_at

    from named_employees
    left join offices
        on
            named_employees.office_code = offices.office_code
            and named_employees.valid_from < offices.valid_to
            and named_employees.valid_to > offices.valid_from
    left join named_employees as managers
        on
            named_employees.manager_employee_number = managers.employee_number
            and greatest(named_employees.valid_from, offices.valid_from) < managers.valid_to
            and least(named_employees.valid_to, offices.valid_to) > managers.valid_from
    {%- if since %}
    where named_employees.employee_number in (select employee_number from changed_employees)
    {%- endif %}

),

versions as (

    {{ merged_versions('described', 'employee_number', 'employee_version_key') }}

),

final as (

    {{ with_unknown_member('versions', {'employee_number': -1}) }}

)

select * from final
