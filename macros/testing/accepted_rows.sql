{#- The entries of seeds/accepted_rows.csv for a test that still hold, each with its condition in SQL. -#}
{% macro accepted_rows(test_name) -%}
    {%- set entries = [] -%}
    {%- set seed = graph.nodes['seed.' ~ project_name ~ '.accepted_rows'] if execute else none -%}
    {#- Not by ref(): each test would have the seed for a parent, and hold back nothing but its children. -#}
    {%- set relation = adapter.get_relation(target.database, seed.schema, seed.alias) if seed else none -%}
    {%- if relation -%}
        {%- set query -%}
            select row_key from {{ relation }}
            where
                test_name = '{{ test_name }}'
                and accepted_until >= cast('{{ run_started_at.strftime("%Y-%m-%d") }}' as date)
            order by row_key
        {%- endset -%}
        {%- for row in run_query(query).rows -%}
            {%- do entries.append({'key': row[0], 'columns': [], 'conditions': []}) -%}
            {%- for part in row[0].split(';') -%}
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

{% macro is_not_accepted(entries) -%}
    not ({{ entries | map(attribute='condition') | join(' or ') }})
{%- endmacro %}
