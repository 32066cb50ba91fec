{% macro quotient(numerator, denominator, decimals) -%}
    {%- set over = 'cast(' ~ denominator ~ ' as bigint)' -%}
    cast(
        case
            when {{ denominator }} > 0
                then cast({{
                    integer_divide(
                        'cast(' ~ numerator ~ ' as bigint) * ' ~ 2 * 10 ** decimals ~ ' + ' ~ over,
                        over ~ ' * 2'
                    )
                }} as numeric(18, 0)) * {{ '0.' ~ '0' * (decimals - 1) ~ '1' }}
        end
        as numeric(18, {{ decimals }})
    )
{%- endmacro %}
