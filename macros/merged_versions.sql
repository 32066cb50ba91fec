{% macro merged_versions(versions, key, version_key, added_later=[]) -%}
    {%- set made_here = [
        version_key, 'version_number', 'is_current', 'valid_from', 'valid_to', '_loaded_at'
    ] -%}
    {%- set columns = contract_columns() | map(attribute='name')
        | reject('in', made_here + added_later) | join(',\n    ') -%}
select
    {{ columns }},
    {{ entity_key([key, 'min(valid_from)']) }} as {{ version_key }},
    cast(row_number() over (partition by {{ key }} order by min(valid_from)) as integer)
        as version_number,
    max(valid_to) = {{ end_of_time() }} as is_current,
    min(valid_from) as valid_from,
    max(valid_to) as valid_to,
    min(_loaded_at) as _loaded_at
from (
    select
        *,
        row_number() over (partition by {{ key }} order by valid_from)
        - row_number() over (partition by {{ columns }} order by valid_from)
            as island
    from {{ versions }}
) as numbered
group by
    {{ columns }},
    island
{%- endmacro %}
