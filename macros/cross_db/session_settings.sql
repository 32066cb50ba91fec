{% macro session_settings() -%}
    {{ return(adapter.dispatch('session_settings')()) }}
{%- endmacro %}

{% macro default__session_settings() -%}
{%- endmacro %}

{% macro postgres__session_settings() -%}
    set local jit = off;
    set local work_mem = '{{ env_var('POSTGRES_WORK_MEM', '') or '32MB' }}'
{%- endmacro %}

{% macro redshift__session_settings() -%}
{%- endmacro %}
