{% macro entity_key(columns) -%}
    cast(
        case
            when {{ columns[0] }} is null then '-1'
            else {{ dbt_utils.generate_surrogate_key(columns) }}
        end
        as varchar(32)
    )
{%- endmacro %}
