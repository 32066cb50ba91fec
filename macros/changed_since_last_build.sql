{% macro changed_since_last_build(number, day, rows, versions) -%}
    {%- set since = watermark() -%}
    {%- for relation in rows -%}
select {{ number }} from {{ relation }}
where _loaded_at > {{ since }}

union

{% endfor -%}
select known.{{ number }}
from {{ this }} as known
    {%- for version_key, (dimension, key) in versions.items() %}
    {%- set new = 'new_' ~ version_key.removesuffix('_version_key') %}
left join (
    {{ new_versions(dimension, key, version_key, since) }}
) as {{ new }}
    on
        known.{{ key }} = {{ new }}.{{ key }}
        and {{ is_valid(new, version_day('known.' ~ day)) }}
    {%- endfor %}
-- not in the joins, where DuckDB would compare each row with each for an `or`
where
    {%- for version_key in versions %}
    {%- set new = 'new_' ~ version_key.removesuffix('_version_key') %}
    {{ 'or ' if not loop.first }}known.{{ version_key }} <> {{ new }}.{{ version_key }}
    or known._loaded_at < {{ new }}._loaded_at
    {%- endfor %}
{%- endmacro %}
