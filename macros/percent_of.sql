{% macro percent_of(part, whole) -%}
    {%- set part_cents = 'cast(abs(' ~ part ~ ') * 100 as bigint)' -%}
    {%- set whole_cents = 'cast(' ~ whole ~ ' * 100 as bigint)' -%}
    cast(
        case
            when {{ whole }} > 0
                then sign({{ part }}) * cast({{
                    integer_divide(
                        part_cents ~ ' * 20000 + ' ~ whole_cents,
                        whole_cents ~ ' * 2'
                    )
                }} as numeric(18, 0)) * 0.01
        end
        as numeric(18, 2)
    )
{%- endmacro %}
