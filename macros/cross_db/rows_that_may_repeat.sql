{#- Rows of groups that can have a key twice, and rows whose key has a null. Each group is a few rows long. -#}
{% macro rows_that_may_repeat(relation, columns, few_by) -%}
    {{ return(adapter.dispatch('rows_that_may_repeat')(relation, columns, few_by)) }}
{%- endmacro %}

{% macro default__rows_that_may_repeat(relation, columns, few_by) -%}
    {{ relation }}
{%- endmacro %}

{#- To keep millions of keys apart takes DuckDB long; the groups are fewer. A key sets one of 63 bits, by its hash. Where
there are as many bits as rows, no two keys are equal. By chance that is not so in two of five groups, and in one of
twelve when three numbers of bits are tried; the keys of these are then compared themselves. -#}
{% macro duckdb__rows_that_may_repeat(relation, columns, few_by) -%}
    (
    select {{ columns | join(', ') }}
    from {{ relation }}
    inner join (
        select {{ few_by | join(', ') }}
        from {{ relation }}
        group by {{ few_by | join(', ') }}
        having
            {%- for bits in [63, 61, 59] %}
            {{ 'and ' if not loop.first -}}
            bit_count(bit_or(
                cast(1 as bigint) << cast(hash({{ columns | join(', ') }}) % {{ bits }} as integer)
            )) < count(*)
            {%- endfor %}
    ) as groups_in_question using ({{ few_by | join(', ') }})
    where
        {{ columns | join(' is not null and ') }} is not null

    union all

    select {{ columns | join(', ') }}
    from {{ relation }}
    where
        {{ columns | join(' is null or ') }} is null
    ) as rows_that_may_repeat
{%- endmacro %}
