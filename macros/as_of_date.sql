{% macro as_of_date() -%}
    {%- set day = (var('as_of_date') or run_started_at.strftime('%Y-%m-%d')) | string -%}
    {%- if not modules.re.match('[0-9]{4}-[0-9]{2}-[0-9]{2}$', day) -%}
        {%- do exceptions.raise_compiler_error(
            "The variable as_of_date is a day such as 2026-11-20, not '" ~ day ~ "'."
        ) -%}
    {%- endif -%}
    cast('{{ day }}' as date)
{%- endmacro %}
