{% test foreign_keys(model, parents, known=[]) %}
with child_keys as (

    {%- if parents | length > 1 %}

    -- One pass finds the values of all keys. Most are there many times, and are looked up once.
    select
        {%- for column in parents %}
        {{ column }},
        grouping({{ column }}) as is_other_key_{{ loop.index }},
        {%- endfor %}
        count(*) as row_count
    from {{ model }}
    group by
        grouping sets (
            {%- for column in parents %}
            ({{ column }}){{ ',' if not loop.last }}
            {%- endfor %}
        )

    {%- else %}

    select
        {{ parents | first }},
        0 as is_other_key_1,
        1 as row_count
    from {{ model }}

    {%- endif %}

),

missing as (

    select
        case
            {%- for column in parents %}
            when child_keys.is_other_key_{{ loop.index }} = 0 then '{{ column }}'
            {%- endfor %}
        end as key_column,
        case
            {%- for column in parents %}
            when child_keys.is_other_key_{{ loop.index }} = 0
                then cast(child_keys.{{ column }} as {{ type_text() }})
            {%- endfor %}
        end as key_value,
        child_keys.row_count

    from child_keys
    {%- for column, parent in parents.items() %}
    left join {{ parent.to }} as parent_{{ loop.index }}
        on child_keys.{{ column }} = parent_{{ loop.index }}.{{ parent.field | default(column) }}
    {%- endfor %}
    where
        {%- for column, parent in parents.items() %}
        {{ 'or ' if not loop.first -}}
        (
            child_keys.is_other_key_{{ loop.index }} = 0
            and parent_{{ loop.index }}.{{ parent.field | default(column) }} is null
        )
        {%- endfor %}
        {%- for column in known %}
        or child_keys.{{ column }} = '-1'
        {%- endfor %}

)

select
    key_column,
    key_value,
    sum(row_count) as row_count
from missing
group by
    key_column,
    key_value
{% endtest %}
