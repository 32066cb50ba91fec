{#- In place of dbt's default__snapshot_get_time; relies on snapshots asking it for the time of a version. -#}
{% macro default__snapshot_get_time() -%}
    {%- if execute -%}
        {#- dbt asks a dozen times; the pre-hook of our snapshots has read it. -#}
        {%- set known = kept_result('comparison') -%}
        {%- set loaded_at = known.data[0][1] if known else run_query(newest_load()).rows[0][0] -%}
        {%- if loaded_at is none -%}
            {%- do exceptions.raise_compiler_error(
                'No load has succeeded, so there is nothing to remember: run python -m loader first.'
            ) -%}
        {%- endif -%}
        cast('{{ loaded_at }}' as timestamp)
    {%- endif -%}
{%- endmacro %}
