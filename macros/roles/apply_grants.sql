{#- In place of dbt's default__apply_grants; relies on materializations calling it for the config `grants`.
dbt's own stops where a role is missing, and asks of each table who may read it. -#}
{% macro default__apply_grants(relation, grant_config, should_revoke=True) -%}
    {%- set absent = var('roles').values() | reject('in', known_roles()) | list -%}
    {%- set revokes, grants = [], [] -%}
    {%- for privilege, names in (grant_config or {}).items() -%}
        {%- for name in names | reject('in', absent) -%}
            {%- do revokes.append(
                'revoke all privileges on ' ~ relation ~ ' from ' ~ grantee(name)
            ) -%}
            {%- do grants.append(
                'grant ' ~ privilege ~ ' on ' ~ relation ~ ' to ' ~ grantee(name)
            ) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- if grants -%}
        {%- do run_query((revokes + grants) | join(';\n')) -%}
    {%- endif -%}
{%- endmacro %}
