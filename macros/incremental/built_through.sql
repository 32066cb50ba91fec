{% macro built_through() -%}
    {#- Not while dbt parses: it would parse everything anew whenever the mark moves. A unit test has no table. -#}
    {%- set loaded_at = env_var('BUILT_THROUGH', '') if execute and this -%}
    {{ return("cast('" ~ loaded_at ~ "' as timestamp)" if loaded_at and is_incremental() else '') }}
{%- endmacro %}
