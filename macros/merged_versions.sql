{% macro merged_versions(versions, columns) -%}
select
    {{ columns | join(',\n    ') }},
    min(valid_from) as valid_from,
    max(valid_to) as valid_to,
    row_number() over (partition by {{ columns[0] }} order by min(valid_from)) as version_number,
    max(valid_to) = {{ end_of_time() }} as is_current,
    min(_loaded_at) as _loaded_at
from (
    select
        *,
        row_number() over (partition by {{ columns[0] }} order by valid_from)
        - row_number() over (partition by {{ columns | join(', ') }} order by valid_from)
            as island
    from {{ versions }}
) as numbered
group by
    {{ columns | join(',\n    ') }},
    island
{%- endmacro %}
