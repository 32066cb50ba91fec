{% macro forget_green_build() -%}
    {%- if execute and flags.WHICH in ['build', 'run', 'seed', 'snapshot', 'retry', 'clone'] -%}
        {%- set record = adapter.get_relation(
            target.database, generate_schema_name('intermediate', none), 'last_green_build'
        ) -%}
        {{ 'delete from ' ~ record if record }}
    {%- endif -%}
{%- endmacro %}
