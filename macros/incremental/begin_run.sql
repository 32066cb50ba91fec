{#- One hook for all that a run begins with, and one for its end: dbt takes longer for a hook than for what it does. -#}
{% macro begin_run() -%}
    {{ statements([forget_green_build(), forget_changes(), recall_changes(), make_compared_loads()]) }}
{%- endmacro %}

{% macro end_run() -%}
    {{ statements([log_changes(), forget_changes(is_end=true), sign_for_watch()]) }}
{%- endmacro %}

{% macro statements(parts) -%}
    {%- for part in parts | map('trim') if part -%}
{{ part.rstrip(';') }};
    {% endfor -%}
{%- endmacro %}
