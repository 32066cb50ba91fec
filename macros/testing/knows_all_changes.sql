{#- Whether changed_rows_of has all that has changed since the last green build in the models that a test reads. A
model that this run does not build has no changes. -#}
{% macro knows_all_changes() -%}
    {%- if not (tested_through() and env_var('BUILT_THROUGH', '')) -%}
        {{ return(false) }}
    {%- endif -%}
    {%- for id in model.depends_on.nodes if not id.startswith('source.') -%}
        {%- set node = graph.nodes.get(id) -%}
        {%- if not (node and node.config.get('meta', {}).get('keeps_changes')) -%}
            {{ return(false) }}
        {%- endif -%}
        {%- set kept = changes_of(api.Relation.create(
            database=node.database, schema=node.schema, identifier=node.alias
        )) -%}
        {#- Made as a whole, it keeps none. -#}
        {%- if id in selected_resources and not load_cached_relation(kept) -%}
            {{ return(false) }}
        {%- endif -%}
    {%- endfor -%}
    {{ return(true) }}
{%- endmacro %}
