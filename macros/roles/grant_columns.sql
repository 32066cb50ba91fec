{% macro grant_columns() -%}
    {%- set role = var('roles')['reporter'] -%}
    {%- if execute and role in known_roles() -%}
        {%- set shown = [] -%}
        {%- for column in model.columns.values() -%}
            {%- if column.config.get('meta', {}).get('personal_data') is sameas false -%}
                {%- do shown.append(adapter.quote(column.name)) -%}
            {%- endif -%}
        {%- endfor -%}
        revoke all privileges on {{ this }} from public, {{ grantee(role) }};
        {%- if shown %}
        grant select ({{ shown | join(', ') }}) on {{ this }} to {{ grantee(role) }};
        {%- endif %}
        {#- Until it is dropped, what this replaced has the rights of before. -#}
        {%- set replaced = load_cached_relation(make_backup_relation(this, 'table')) -%}
        {%- if replaced %}
        revoke all privileges on {{ replaced }} from public, {{ grantee(role) }};
        {%- endif %}
    {%- endif -%}
{%- endmacro %}
