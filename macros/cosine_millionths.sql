{% macro cosine_millionths(both, one, other) -%}
    cast(floor(
        cast({{ both }} as double precision) * 1000000
        / sqrt(cast({{ one }} as double precision) * cast({{ other }} as double precision))
        + 0.5
    ) as bigint)
{%- endmacro %}
