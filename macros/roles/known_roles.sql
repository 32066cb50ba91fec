{% macro known_roles() -%}
    {#- Asked once a run and kept in the graph, which all models of the run share. -#}
    {%- if graph.get('known_roles', {}).get('run') != invocation_id -%}
        {%- set names = list_roles(var('roles').values() | list) -%}
        {%- do graph.update({'known_roles': {'run': invocation_id, 'names': names}}) -%}
    {%- endif -%}
    {{ return(graph['known_roles']['names']) }}
{%- endmacro %}
