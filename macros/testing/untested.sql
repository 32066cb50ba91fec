{% macro untested() -%}
    {%- if tested_through() -%}
        (_loaded_at > cast('{{ tested_through() }}' as timestamp) or _loaded_at is null)
    {%- else -%}
        1 = 1
    {%- endif -%}
{%- endmacro %}

{% macro tested_through() -%}
    {#- Not while dbt parses: it would parse everything anew whenever the mark moves. -#}
    {{ return(env_var('TESTED_THROUGH', '') if execute else '') }}
{%- endmacro %}
