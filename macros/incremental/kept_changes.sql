{#- What a run writes into a model with `meta: {keeps_changes: true}`, until its end: for the models below it,
which then need not calculate again what hangs on other rows. -#}
{% macro changes_of(relation) -%}
    {{ return(api.Relation.create(
        database=relation.database,
        schema=generate_schema_name('intermediate', none),
        identifier=relation.identifier ~ '_changes'
    )) }}
{%- endmacro %}

{% macro is_keeping_changes() -%}
    {{ return(config.get('meta', {}).get('keeps_changes') and built_through() != '') }}
{%- endmacro %}

{% macro keep_changes(arg_dict, before, changes, gone) -%}
    {%- set kept = changes_of(this) -%}
    {%- set columns = get_quoted_csv(arg_dict['dest_columns'] | map(attribute='name')) -%}
    {%- set changed = key_columns(arg_dict) ~ ' in ('
        ~ 'select ' ~ key_columns(arg_dict, bare=true) ~ ' from ' ~ changes ~ ')' -%}
    {%- set taken_out = 'select ' ~ columns ~ ', -1 as change from ' -%}
    {%- set removed = kept_result('rows_removed') -%}
    {%- set gone = gone if removed and removed.data[0][0] else none -%}
    {%- do run_query(
        'create table ' ~ kept ~ ' as'
        ~ ' select ' ~ columns ~ ', 1 as change from ' ~ changes
        ~ ' union all (' ~ taken_out ~ (before or arg_dict['target_relation'])
        ~ ' where ' ~ changed ~ and_predicates(arg_dict)
        ~ (' union ' ~ taken_out ~ arg_dict['target_relation'] ~ ' where ' ~ gone ~ and_predicates(arg_dict)
            if gone else '')
        ~ ')'
    ) -%}
    {%- do adapter.cache_added(kept) -%}
{%- endmacro %}

{#- What a watch says of its run, which has models or tests and not both: `run`, the number under which the changes
go into a log at its end; `since`, after which number the tests and models of this run ask for changes. The log ends
before a run that says `fresh` and after one that says `last`. Empty for all other builds. -#}
{% macro following() -%}
    {{ return(fromjson(env_var('FOLLOWING', '') or '{}') if execute else {}) }}
{%- endmacro %}

{% macro models_that_keep_changes() -%}
    {#- Looked up once for a project: a watch asks again and again. -#}
    {%- if 'models_that_keep_changes' in graph -%}
        {{ return(graph['models_that_keep_changes']) }}
    {%- endif -%}
    {%- set found = [] -%}
    {%- for node in graph.nodes.values() if node.config.get('meta', {}).get('keeps_changes') -%}
        {%- set relation = api.Relation.create(
            database=node.database, schema=node.schema, identifier=node.alias
        ) -%}
        {%- do found.append({'id': node.unique_id, 'kept': changes_of(relation), 'log': log_of(relation)}) -%}
    {%- endfor -%}
    {%- do graph.update({'models_that_keep_changes': found}) -%}
    {{ return(found) }}
{%- endmacro %}

{% macro log_of(relation) -%}
    {%- set kept = changes_of(relation) -%}
    {{ return(kept.incorporate(path={'identifier': kept.identifier ~ '_log'})) }}
{%- endmacro %}

{% macro forget_changes(beside, is_end=false) -%}
    {%- set watch = following() -%}
    {%- if execute and (watch or flags.WHICH in ['build', 'run', 'retry']) -%}
        {%- for model in models_that_keep_changes() -%}
            {%- set relations = [model.kept] -%}
            {%- if not watch or watch.get('last' if is_end else 'fresh') -%}
                {%- do relations.append(model.log) -%}
            {%- endif -%}
            {%- for relation in relations if relation.identifier in beside -%}
                {#- What dbt still knew of would be read. -#}
                {%- do adapter.cache_dropped(relation) -%}
                {#- As told to what else looks at it in this run. -#}
                {%- do beside.remove(relation.identifier) -%}
    drop table if exists {{ relation }};
            {% endfor -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro %}

{#- At the start of a run of a watch: what earlier ones have changed, as if this one had changed it. -#}
{% macro recall_changes(beside) -%}
    {%- set since = following().get('since') -%}
    {%- if since is not none -%}
        {#- What this run builds says itself what it changes. -#}
        {%- for model in models_that_keep_changes()
            if model.id not in selected_resources and model.log.identifier in beside -%}
            {#- Not by the adapter, which would begin a transaction that nobody commits. -#}
            {%- set found = run_query('select * from ' ~ model.log ~ ' limit 0').column_names -%}
            {%- set columns = found | reject('in', ['change', 'run_number']) | list | join(', ') -%}
            {%- do adapter.cache_added(model.kept) -%}
    create table {{ model.kept }} as
    select {{ columns }}, cast(sum(change) as integer) as change
    from {{ model.log }}
    where run_number > {{ since }}
    group by {{ columns }}
    having sum(change) <> 0;
        {% endfor -%}
    {%- endif -%}
{%- endmacro %}

{#- At its end: what it has changed, for those that follow. Where something failed, all is calculated without them,
and what a model took back is not there. -#}
{% macro log_changes(beside) -%}
    {%- set run_number = following().get('run') -%}
    {%- set failed = results | map(attribute='status') | map('string') | select('in', ['error', 'fail']) | list -%}
    {%- if run_number is not none and not failed -%}
        {%- for model in models_that_keep_changes()
            if model.id in selected_resources and model.kept.identifier in beside -%}
            {%- if model.log.identifier not in beside -%}
    create table {{ model.log }} as select *, {{ run_number }} as run_number from {{ model.kept }};
            {%- else -%}
    insert into {{ model.log }} select *, {{ run_number }} as run_number from {{ model.kept }};
            {%- endif -%}
        {% endfor -%}
    {%- endif -%}
{%- endmacro %}

{#- Rows as they were before the run have the change -1, as they are now 1. -#}
{% macro changed_rows_of(relation) -%}
    {%- set kept = changes_of(relation) -%}
    {%- if execute and load_cached_relation(kept) -%}
select * from {{ kept }}
    {%- else -%}
select *, 1 as change from {{ relation }} where 1 = 0
    {%- endif -%}
{%- endmacro %}

{% macro changed_keys(column, models) -%}
    {#- A unit test knows no other models than those it gives rows for. -#}
    {%- for model in models if not execute or built_through() -%}
select {{ column }} from (
    {{ changed_rows_of(ref(model)) }}
) as changed_{{ loop.index }}
{{ 'union ' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}

{#- Whether rows that were there have other values in some columns, or are gone. -#}
{% macro has_other_values(relation, columns) -%}
    {%- set kept = changes_of(relation) -%}
    {%- if not (execute and load_cached_relation(kept)) -%}
        {{ return(false) }}
    {%- endif -%}
    {%- set listed = columns | join(', ') -%}
    {%- set query -%}
        select {{ listed }} from {{ kept }} where change = -1
        except
        select {{ listed }} from {{ kept }} where change = 1
    {%- endset -%}
    {{ return(has_rows(query)) }}
{%- endmacro %}

{#- Whether a model with `meta: {goes_on: ...}` goes on from its own rows. -#}
{% macro goes_on() -%}
    {%- if not built_through() -%}
        {{ return(false) }}
    {%- endif -%}
    {%- set rules = config.get('meta')['goes_on'] -%}
    {%- for model, columns in rules.get('as_long_as_same', {}).items() -%}
        {%- if has_other_values(ref(model), columns) -%}
            {{ return(false) }}
        {%- endif -%}
    {%- endfor -%}
    {%- if rules.get('unless') and has_rows('select 1 from ' ~ this ~ ' where ' ~ rules['unless']) -%}
        {{ return(false) }}
    {%- endif -%}
    {{ return(not (rules.get('follows_day') and is_of_another_day())) }}
{%- endmacro %}

{#- Whether a model with `meta: {limited_to: ...}` calculates the rows of some keys only. -#}
{% macro is_limited() -%}
    {%- if not built_through() -%}
        {{ return(false) }}
    {%- endif -%}
    {{ return(not (config.get('meta')['limited_to'].get('follows_day') and is_of_another_day())) }}
{%- endmacro %}

{% macro is_of_another_day() -%}
    {%- set query -%}
        select 1
        from {{ this }} as known
        {%- if 'data_through_date' in model.columns %}
        -- one row
        cross join {{ ref('int_data_through') }} as data_through
        {%- endif %}
        where
            known.as_of_date = {{ as_of_date() }}
            {%- if 'data_through_date' in model.columns %}
            and not {{ differs('known.data_through_date', 'data_through.data_through_date') }}
            {%- endif %}
    {%- endset -%}
    {{ return(not has_rows(query)) }}
{%- endmacro %}

{% macro has_rows(query) -%}
    {{ return(run_query('select 1 from (' ~ query ~ ') as found limit 1').rows | length > 0) }}
{%- endmacro %}
