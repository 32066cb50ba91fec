{% macro forget_green_build() -%}
    {%- if execute and flags.WHICH in ['build', 'run', 'seed', 'snapshot', 'retry', 'clone'] -%}
        {%- set record = adapter.get_relation(
            target.database, generate_schema_name('intermediate', none), 'last_green_build'
        ) -%}
        {{ 'delete from ' ~ record if record }}
    {%- endif -%}
{%- endmacro %}

{#- In place of the record: the sign by which a watch sees whether anybody has built after it. -#}
{% macro sign_for_watch() -%}
    {%- set sign = following().get('sign') -%}
    {%- if sign -%}
        insert into {{ generate_schema_name('intermediate', none) }}.last_green_build (fingerprint)
        values ('{{ sign }}')
    {%- endif -%}
{%- endmacro %}
