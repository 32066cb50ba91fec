{% macro new_versions(dimension, key, version_key, since) -%}
select
    {{ key }},
    {{ version_key }},
    valid_from,
    valid_to,
    _loaded_at
from {{ dimension }}
where _loaded_at >= {{ since }}
{%- endmacro %}
