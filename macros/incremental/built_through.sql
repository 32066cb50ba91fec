{% macro built_through() -%}
    {#- Not while dbt parses: it would parse everything anew whenever the mark moves. -#}
    {%- set loaded_at = env_var('BUILT_THROUGH', '') if execute -%}
    {{ return("cast('" ~ loaded_at ~ "' as timestamp)" if loaded_at and is_incremental() else '') }}
{%- endmacro %}
