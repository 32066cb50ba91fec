{#- By snapshot: the load through which it has compared all rows, with which code, and how many versions
that left. -#}
{% macro compared_loads() -%}
    {%- set any = graph.nodes.values() | selectattr('resource_type', 'equalto', 'snapshot') | first -%}
    {{ return(api.Relation.create(
        database=target.database, schema=any.schema, identifier='compared_loads'
    )) }}
{%- endmacro %}

{% macro make_compared_loads() -%}
    {#- Once, before the snapshots, which run side by side. -#}
    {%- if execute and flags.WHICH in ['build', 'snapshot', 'retry'] -%}
        {%- set marks = compared_loads() -%}
        {%- if adapter.check_schema_exists(marks.database, marks.schema) -%}
            create table if not exists {{ marks }} (
                snapshot_name varchar(100), code varchar(32), loaded_through timestamp,
                version_count bigint
            )
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}

{% macro newest_load() -%}
    select cast(max(started_at) as {{ dbt.type_string() }}) as newest
    from {{ source('load_audit', '_load_runs') }}
    where status = 'succeeded'
{%- endmacro %}

{% macro begin_comparison() -%}
    {%- if execute -%}
        {%- call statement('comparison', fetch_result=true) -%}
            select '{{ snapshot_code() }}' as code, newest as loaded_through
            from ({{ newest_load() }}) as loads
        {%- endcall -%}
    {%- endif -%}
{%- endmacro %}

{#- dbt hands out a result once. -#}
{% macro kept_result(name) -%}
    {%- set result = load_result(name) -%}
    {%- if result -%}
        {%- do store_result(name, response=result.response, agate_table=result.table) -%}
    {%- endif -%}
    {{ return(result) }}
{%- endmacro %}

{% macro end_comparison() -%}
    {%- if execute -%}
        {%- set code, loaded_through = kept_result('comparison').data[0] -%}
        {#- The rows may be of a load that its versions are not dated by. -#}
        {%- if run_query(newest_load()).rows[0][0] != loaded_through -%}
            {%- do exceptions.raise_compiler_error(
                'A load arrived while ' ~ this.identifier ~ ' was made, which remembers nothing of it'
                ~ ' therefore: build again (make build keeps loads away meanwhile).'
            ) -%}
        {%- endif -%}
        {%- set limits = kept_result('snapshot_limits') -%}
        {%- set said = 'all keys compared' -%}
        {%- if limits -%}
            {%- set said = limits.data[0][2] ~ ' of the keys compared' -%}
            drop table {{ adapter.quote(limits.data[0][0]) }};
            drop table {{ adapter.quote(limits.data[0][1]) }};
        {%- endif -%}
        {%- do store_raw_result('main', message=said, code='COMPARED', rows_affected=none) -%}
        delete from {{ compared_loads() }} where snapshot_name = '{{ this.identifier }}';
        insert into {{ compared_loads() }}
        select
            '{{ this.identifier }}', '{{ code }}', cast('{{ loaded_through }}' as timestamp), count(*)
        from {{ this }};
    {%- endif -%}
{%- endmacro %}

{% macro compared_through(snapshot, staging) -%}
    {%- set code = kept_result('comparison').data[0][0] -%}
    {%- if not (staging and code) or flags.FULL_REFRESH or env_var('BUILD', '') == 'all' -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set query -%}
        select cast(compared.loaded_through as {{ dbt.type_string() }}) as since
        from {{ compared_loads() }} as compared
        -- the raw tables go on from those that were compared
        inner join {{ source('load_audit', '_load_runs') }} as runs
            on compared.loaded_through = runs.started_at and runs.status = 'succeeded'
        where
            compared.snapshot_name = '{{ snapshot.identifier }}'
            and compared.code = '{{ code }}'
            -- nobody has changed the history since, as undo-load does
            and compared.version_count = (select count(*) from {{ snapshot }})
    {%- endset -%}
    {%- set found = run_query(query).rows -%}
    {%- if not found -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set since = "cast('" ~ found[0][0] ~ "' as timestamp)" -%}
    {#- Where no row is old, the table was emptied or made anew, and has no tombstones of what was gone. -#}
    {%- set old -%}
        select 1 from {{ staging.relation }} where _loaded_at <= {{ since }} limit 1
    {%- endset -%}
    {{ return(since if run_query(old).rows else none) }}
{%- endmacro %}

{#- A hash of all that decides what a version is: the settings, and each view as the warehouse has it. Empty
where the warehouse does not know a view. -#}
{% macro snapshot_code() -%}
    {%- set staging = staging_of_snapshot() -%}
    {%- if not staging -%}
        {{ return('') }}
    {%- endif -%}
    {%- set named = [] -%}
    {%- for view in staging.views -%}
        {%- do named.append("schemaname = '" ~ view.schema ~ "' and viewname = '" ~ view.alias ~ "'") -%}
    {%- endfor -%}
    {%- set query -%}
        select viewname, definition from pg_catalog.pg_views
        where {{ named | join(' or ') }}
        order by viewname
    {%- endset -%}
    {%- set parts = [
        model.compiled_code, config.get('unique_key'), config.get('check_cols'), config.get('hard_deletes')
    ] -%}
    {%- set views = run_query(query).rows -%}
    {%- for row in views -%}
        {#- DuckDB prints types in another way after it has opened the file anew. -#}
        {%- set definition = modules.re.sub('(\\d), (\\d)', '\\1,\\2', row[1]) -%}
        {%- do parts.append(modules.re.sub('"|(?<=VARCHAR)\\(\\d+\\)', '', definition)) -%}
    {%- endfor -%}
    {{ return(local_md5(parts | join('|')) if views | length == named | length else '') }}
{%- endmacro %}
