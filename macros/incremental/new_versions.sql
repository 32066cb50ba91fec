{% macro new_versions(dimension, key, version_key, since) -%}
select
    {{ key }},
    {{ version_key }},
    valid_from,
    valid_to,
    _loaded_at
from {{ dimension }}
where {{ is_new_version(since) }}
{%- endmacro %}

{#- The last green build, where make build says which, has seen all versions of its load. Otherwise a partial build
may have brought some of them later than the fact. -#}
{% macro is_new_version(since) -%}
    {{ '_loaded_at > ' ~ built_through() if built_through() else '_loaded_at >= ' ~ since }}
{%- endmacro %}
