{% macro known_roles() -%}
    {#- Asked once a run and kept in the graph, which all models of the run share. -#}
    {%- if graph.get('known_roles', {}).get('run') != invocation_id -%}
        {%- set names = adapter.dispatch('list_roles')(var('roles').values() | list) -%}
        {%- do graph.update({'known_roles': {'run': invocation_id, 'names': names}}) -%}
    {%- endif -%}
    {{ return(graph['known_roles']['names']) }}
{%- endmacro %}

{% macro default__list_roles(names) -%}
    {{ return([]) }}
{%- endmacro %}

{% macro postgres__list_roles(names) -%}
    {%- set found = run_query(
        "select rolname from pg_roles where rolname in ('" ~ names | join("', '") ~ "')"
    ) -%}
    {{ return(found.columns[0].values() | list) }}
{%- endmacro %}

{% macro redshift__list_roles(names) -%}
    {%- set found = run_query(
        "select role_name from svv_roles where role_name in ('" ~ names | join("', '") ~ "')"
    ) -%}
    {{ return(found.columns[0].values() | list) }}
{%- endmacro %}
