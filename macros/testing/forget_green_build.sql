{% macro forget_green_build(beside) -%}
    {%- if 'last_green_build' in beside and flags.WHICH != 'test' -%}
        delete from {{ generate_schema_name('intermediate', none) }}.last_green_build
    {%- endif -%}
{%- endmacro %}

{#- In place of the record: the sign by which a watch sees whether anybody has built after it. Without the table it
sees that too, and builds everything. -#}
{% macro sign_for_watch(beside) -%}
    {%- set sign = following().get('sign') -%}
    {%- if sign and 'last_green_build' in beside -%}
        insert into {{ generate_schema_name('intermediate', none) }}.last_green_build (fingerprint)
        values ('{{ sign }}')
    {%- endif -%}
{%- endmacro %}
