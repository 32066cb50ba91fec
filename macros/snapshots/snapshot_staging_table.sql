{#- Adds to dbt's snapshot_staging_table; relies on snapshots asking it, and it alone, which versions end and begin. -#}
{% macro default__snapshot_staging_table(strategy, source_sql, target_relation) -%}
    {#- dbt asks twice, and nothing is written between. -#}
    {%- if not kept_result('snapshot_staging') -%}
        {%- set staging = snapshot_staging(strategy, source_sql, target_relation) -%}
        {%- do store_raw_result('snapshot_staging', message=staging, code='STAGING', rows_affected=none) -%}
    {%- endif -%}
    {{ return(kept_result('snapshot_staging').response | string) }}
{%- endmacro %}

{% macro snapshot_staging(strategy, source_sql, target_relation) -%}
    {%- set limits = snapshot_limits(target_relation) -%}
    {%- if limits is none -%}
        {{ return(dbt.default__snapshot_staging_table(strategy, source_sql, target_relation)) }}
    {%- endif -%}
    {%- set key = strategy.unique_key -%}
    {#- By name where there are few: no warehouse carries a subquery into the views. -#}
    {%- set keys = 'select ' ~ key ~ ' from ' ~ limits['keys'] -%}
    {%- set changed -%}
        select * from (
            {{ source_sql }}
        ) as source_rows
        where {{ is_one_of(key, keys) or key ~ ' in (' ~ keys ~ ')' }}
    {%- endset -%}
    {{ return(dbt.default__snapshot_staging_table(strategy, changed, limits['versions'])) }}
{%- endmacro %}

{% macro snapshot_limits(target_relation) -%}
    {%- set key, staging = config.get('unique_key'), staging_of_snapshot() -%}
    {%- set since = compared_through(target_relation, staging) if key is string -%}
    {%- if not since -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set keys = make_temp_relation(target_relation, '__keys') -%}
    {%- set versions = make_temp_relation(target_relation, '__versions') -%}
    {%- set tombstones -%}
        select 1 from {{ staging.source }}
        where _deleted_at is not null and _loaded_at > {{ since }}
        limit 1
    {%- endset -%}
    {%- set changed -%}
        create temporary table {{ keys }} as
        select {{ key }} from {{ staging.relation }}
        where _loaded_at > {{ since }}
        {%- if run_query(tombstones).rows %}
        union
        select known.{{ key }}
        from {{ target_relation }} as known
        left join {{ staging.relation }} as here on known.{{ key }} = here.{{ key }}
        where
            known.dbt_valid_to = {{ config.get('dbt_valid_to_current') }}
            and known.dbt_is_deleted = 'False'
            and here.{{ key }} is null
        {%- endif -%}
    {%- endset -%}
    {%- do run_query(changed) -%}
    {%- do run_query(
        'create temporary table ' ~ versions ~ ' as select * from ' ~ target_relation
        ~ ' where ' ~ key ~ ' in (select ' ~ key ~ ' from ' ~ keys ~ ')'
    ) -%}
    {%- call statement('snapshot_limits', fetch_result=true) -%}
        select
            '{{ keys.identifier }}' as keys_name,
            '{{ versions.identifier }}' as versions_name,
            count(distinct {{ key }}) as key_count
        from {{ keys }}
    {%- endcall -%}
    {{ return({'keys': keys, 'versions': versions}) }}
{%- endmacro %}

{% macro staging_of_snapshot() -%}
    {#- Only where all rows come from one table are those with a changed row of it all that can differ. -#}
    {%- set above = [] -%}
    {%- do nodes_above(model, above) -%}
    {%- set sources = [] -%}
    {%- set views = [] -%}
    {%- for node in above -%}
        {%- do views.append(node) if node.config.materialized == 'view' -%}
        {%- for name in node.depends_on.nodes if name in graph.sources -%}
            {%- do sources.append((node, graph.sources[name])) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- if sources | length != 1 or views | length != above | length -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set node, source_node = sources[0] -%}
    {%- set relation = api.Relation.create(
        database=node.database, schema=node.schema, identifier=node.alias
    ) -%}
    {{ return({'relation': relation, 'source': source_node.relation_name, 'views': views}) }}
{%- endmacro %}

{% macro nodes_above(node, found) -%}
    {%- for name in node.depends_on.nodes if name in graph.nodes -%}
        {%- set parent = graph.nodes[name] -%}
        {%- if parent.resource_type == 'model' and parent not in found -%}
            {%- do found.append(parent) -%}
            {%- do nodes_above(parent, found) -%}
        {%- endif -%}
    {%- endfor -%}
{%- endmacro %}
