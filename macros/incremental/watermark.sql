{% macro watermark() -%}
    {%- if execute -%}
        {%- set latest -%}
            select cast(max(_loaded_at) as {{ dbt.type_string() }}) as loaded_at from {{ this }}
        {%- endset -%}
        {%- set loaded_at = run_query(latest).columns[0].values()[0] -%}
        {#- An empty table has seen nothing. -#}
        {{ "cast('" ~ loaded_at ~ "' as timestamp)" if loaded_at else beginning_of_time() }}
    {%- endif -%}
{%- endmacro %}
