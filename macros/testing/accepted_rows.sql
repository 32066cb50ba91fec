{#- The entries of seeds/accepted_rows.csv for a test that still hold, each with its condition in SQL. -#}
{% macro accepted_rows(test_name) -%}
    {%- set entries = [] -%}
    {%- set asks = execute and may_accept_rows(model) -%}
    {%- set seed = graph.nodes['seed.' ~ project_name ~ '.accepted_rows'] if asks else none -%}
    {#- Not by ref(): each test would have the seed for a parent, and hold back nothing but its children. -#}
    {%- set relation = adapter.get_relation(target.database, seed.schema, seed.alias) if seed else none -%}
    {%- if relation -%}
        {%- for key in accepted_keys(seed, relation)[test_name] or [] -%}
            {%- do entries.append({'key': key, 'columns': [], 'conditions': []}) -%}
            {%- for part in key.split(';') -%}
                {%- set column, _, value = part.partition('=') -%}
                {%- do entries[-1].columns.append(column | trim | lower) -%}
                {%- do entries[-1].conditions.append(
                    'cast(' ~ column | trim ~ ' as ' ~ type_text() ~ ") = '"
                    ~ (value | trim).replace("'", "''") ~ "'"
                ) -%}
            {%- endfor -%}
            {%- do entries[-1].update(
                {'condition': 'coalesce(' ~ entries[-1].conditions | join(' and ') ~ ', false)'}
            ) -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(entries) }}
{%- endmacro %}

{#- Tests of raw tables and of seeds may not: they can run while the seed is written. What else is tested
is built on staging, whose pre-hook has the seed for a parent. -#}
{% macro may_accept_rows(test) -%}
    {%- for parent in test.depends_on.nodes if not parent.startswith(('source.', 'seed.')) -%}
        {{ return(true) }}
    {%- endfor -%}
    {{ return(false) }}
{%- endmacro %}

{#- By test, the keys of its accepted rows. Asked once for all tests of a run, unless the run also
writes the seed. -#}
{% macro accepted_keys(seed, relation) -%}
    {%- if 'accepted_keys' in seed -%}
        {{ return(seed['accepted_keys']) }}
    {%- endif -%}
    {%- set query -%}
        select test_name, row_key from {{ relation }}
        where accepted_until >= cast('{{ run_started_at.strftime("%Y-%m-%d") }}' as date)
        order by test_name, row_key
    {%- endset -%}
    {%- set keys = {} -%}
    {%- for test_name, row_key in run_query(query).rows -%}
        {%- do keys.setdefault(test_name, []).append(row_key) -%}
    {%- endfor -%}
    {%- if seed.unique_id not in selected_resources -%}
        {%- do seed.update({'accepted_keys': keys}) -%}
    {%- endif -%}
    {{ return(keys) }}
{%- endmacro %}

{% macro is_not_accepted(entries) -%}
    not ({{ entries | map(attribute='condition') | join(' or ') }})
{%- endmacro %}
