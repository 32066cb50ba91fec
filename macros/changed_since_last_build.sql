{% macro changed_since_last_build(number, day, rows, versions) -%}
    {%- set since = watermark() -%}
    {#- A build of one snapshot by hand leaves a version as it is halfway: its key and its load stay, and the
    prices in it come with the next build. -#}
    {%- set is_before = '<' if built_through() else '<=' -%}
    {%- set changed = {} -%}
    {%- for version_key, (dimension, key) in versions.items() if has_news(dimension, since) -%}
        {%- do changed.update({version_key: (dimension, key)}) -%}
    {%- endfor -%}
    {%- for relation in rows -%}
select {{ number }} from {{ relation }}
where _loaded_at > {{ since }}
{% if not loop.last or changed %}
union

{% endif -%}
    {% endfor -%}
    {%- if changed -%}
select known.{{ number }}
from {{ this }} as known
        {%- for version_key, (dimension, key) in changed.items() %}
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
        {%- for version_key in changed %}
        {%- set new = 'new_' ~ version_key.removesuffix('_version_key') %}
    {{ 'or ' if not loop.first }}known.{{ version_key }} <> {{ new }}.{{ version_key }}
    or known._loaded_at {{ is_before }} {{ new }}._loaded_at
        {%- endfor %}
    {%- endif -%}
{%- endmacro %}

{#- Most loads bring no version: then no row of the fact has to be looked at. -#}
{% macro has_news(dimension, since) -%}
    {%- set query = 'select 1 from ' ~ dimension ~ ' where ' ~ is_new_version(since) ~ ' limit 1' -%}
    {{ return(not execute or run_query(query).rows | length > 0) }}
{%- endmacro %}
