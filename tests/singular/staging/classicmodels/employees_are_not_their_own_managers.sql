{{ config(severity='warn') }}

{%- set steps = 8 %}

with employees as (

    select * from {{ ref('stg_classicmodels__employees') }}

),

managers_0 as (

    select
        employee_number,
        manager_employee_number as manager_number
    from employees

),

-- The manager of the manager, and so on, until a chain comes back to the employee.
{%- for step in range(1, steps) %}
managers_{{ step }} as (

    select
        managers.employee_number,
        employees.manager_employee_number as manager_number

    from managers_{{ step - 1 }} as managers
    -- only those that have a manager
    inner join employees on managers.manager_number = employees.employee_number
    where managers.employee_number <> managers.manager_number

),
{%- endfor %}

chains as (

    {%- for step in range(steps) %}
    select
        employee_number,
        manager_number
    from managers_{{ step }}
    {{ 'union' if not loop.last }}
    {%- endfor %}

)

select
    employees.employee_number,
    employees.job_title,
    employees.manager_employee_number

from employees
-- one row at most
inner join chains
    on
        employees.employee_number = chains.employee_number
        and employees.employee_number = chains.manager_number
