{% macro get_incremental_changed_rows_sql(arg_dict) -%}
    {%- set gone = config.get('meta', {}).get('tombstones') -%}
    {%- if gone -%}
        {%- set condition -%}
            {{ key_columns(arg_dict) }} in (
                select {{ entity_key(gone['key']) }}
                from {{ ref(gone['model']) }}
                where _loaded_at >= {{ watermark() }}
            )
        {%- endset -%}
        {{ remove_rows(arg_dict, condition) }}
    {%- endif -%}
    {{ write_changed_rows(arg_dict, condition) }}
{%- endmacro %}

{% macro write_changed_rows(arg_dict, gone, without=none, before=none, all=false) -%}
    {%- set target, source = arg_dict['target_relation'], arg_dict['temp_relation'] -%}
    {%- set key = key_columns(arg_dict) -%}
    {%- set columns = get_quoted_csv(arg_dict['dest_columns'] | map(attribute='name')) -%}
    {%- set changes = make_temp_relation(target, '__changes') -%}
    {%- set in_range = in_range_of(source) -%}
    {#- Rows of other keys differ anyway: where all are calculated, none has to be looked up, and where a number
    has a range, it does for the key, which DuckDB would read in all rows. -#}
    {%- set known -%}
        {%- set number = config.get('meta', {}).get('key_has') -%}
        select {{ columns }} from {{ target }}
        where {% if all %}1 = 1
        {%- elif in_range %}{{ number }} in (select {{ number }} from {{ source }})
        {%- else %}{{ key }} in (select {{ key_columns(arg_dict, bare=true) }} from {{ source }})
        {%- endif %}
        {{- and_predicates(arg_dict) }}{{ in_range }}
    {%- endset -%}
    {#- Where they are needed again: to look them up goes through a whole table on DuckDB. -#}
    {%- if not (before or all) and is_keeping_changes() -%}
        {%- set before = rows_before(arg_dict, known) -%}
    {%- endif -%}
    {%- do run_query(
        'create temporary table ' ~ changes ~ ' as'
        ~ ' select ' ~ columns ~ ' from ' ~ source ~ (' where not (' ~ without ~ ')' if without else '')
        ~ ' except '
        ~ ('select ' ~ columns ~ ' from ' ~ before if before else known)
    ) -%}
    {%- do count_rows('rows_changed', 'from ' ~ changes) -%}
    {%- if is_keeping_changes() -%}
        {%- do keep_changes(arg_dict, before, changes, gone) -%}
    {%- endif -%}

    delete from {{ target }}
    where {{ key }} in (select {{ key_columns(arg_dict, bare=true) }} from {{ changes }})
    {{- and_predicates(arg_dict) }}{{ in_range }};

    insert into {{ target }} ({{ columns }})
    select {{ columns }} from {{ changes }};

    drop table {{ changes }}
    {%- if before %};

    drop table {{ before }}
    {%- endif -%}
{%- endmacro %}

{#- Keys that are hashes lie anywhere, so that DuckDB looks for them in all rows. Of a column that is the same
wherever the key is, it knows the least and the greatest value in each part of a table, and reads no other part. -#}
{% macro in_range_of(source) -%}
    {{ return(adapter.dispatch('in_range_of')(source)) }}
{%- endmacro %}

{% macro default__in_range_of(source) -%}
    {{ return('') }}
{%- endmacro %}

{% macro duckdb__in_range_of(source) -%}
    {%- set column = config.get('meta', {}).get('key_has') -%}
    {%- if not column -%}
        {{ return('') }}
    {%- endif -%}
    {%- set query -%}
        select min({{ column }}), max({{ column }}), count(*) - count({{ column }}) from {{ source }}
    {%- endset -%}
    {%- set least, greatest, unknown = run_query(query).rows[0] -%}
    {#- No range has a row without a value. -#}
    {{ return('' if unknown or least is none else ' and ' ~ column ~ ' between ' ~ least ~ ' and ' ~ greatest) }}
{%- endmacro %}

{% macro rows_before(arg_dict, query) -%}
    {%- set before = make_temp_relation(arg_dict['target_relation'], '__before') -%}
    {%- do run_query('create temporary table ' ~ before ~ ' as ' ~ query) -%}
    {{ return(before) }}
{%- endmacro %}

{% macro remove_rows(arg_dict, condition, before=none) -%}
    {%- set gone -%}
        from {{ arg_dict['target_relation'] }}
        where {{ condition }}{{ and_predicates(arg_dict) }}
    {%- endset -%}
    {%- do count_rows('rows_removed', 'from ' ~ before ~ ' where ' ~ condition if before else gone) -%}
    {%- if kept_result('rows_removed').data[0][0] %}
    delete {{ gone }};

    {% endif -%}
{%- endmacro %}

{% macro key_columns(arg_dict, bare=false) -%}
    {%- set given = arg_dict['unique_key'] -%}
    {%- if not given -%}
        {%- do exceptions.raise_compiler_error(
            'The incremental strategies changed_rows and whole need a unique_key, which '
            ~ this.identifier ~ ' does not have: set it in the config of the model.'
        ) -%}
    {%- endif -%}
    {%- set columns = given if given is string else given | join(', ') -%}
    {{- columns if bare or given is string else '(' ~ columns ~ ')' -}}
{%- endmacro %}

{% macro and_predicates(arg_dict) -%}
    {%- for predicate in arg_dict['incremental_predicates'] or [] %} and ({{ predicate }}){% endfor -%}
{%- endmacro %}
