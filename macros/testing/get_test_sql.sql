{#- Adds to dbt's get_test_sql; relies on dbt asking it for the query of each data test. -#}
{% macro default__get_test_sql(main_sql, fail_calc, warn_if, error_if, limit) -%}
    {%- set query = dbt.default__get_test_sql(
        without_accepted_rows(main_sql), fail_calc, warn_if, error_if, limit
    ) -%}
    {#- In one statement with the query, because dbt runs no hooks of a test. -#}
    {{ return([session_settings(), query] | select | join(';\n')) }}
{%- endmacro %}

{% macro without_accepted_rows(main_sql) -%}
    {%- set entries = accepted_rows(model.name) -%}
    {%- if not entries -%}
        {{ return(main_sql) }}
    {%- endif -%}
    {%- set is_generic = model.get('test_metadata') is not none -%}
    {%- set sql = model.compiled_code -%}
    {%- if not is_generic -%}
        {%- set known = get_columns_in_query(sql) | map('lower') | list -%}
        {%- for entry in entries -%}
            {%- for column in entry.columns if column not in known -%}
                {%- do refuse_entry(entry, 'names a column that the rows of this test do not have; it has '
                    ~ known | join(', ')) -%}
            {%- endfor -%}
        {%- endfor -%}
    {%- endif -%}
    {%- for entry in entries if not tested_through() -%}
        {#- A generic test leaves rows out before it looks: of this entry's rows alone, does any fail? -#}
        {%- set found -%}
            select count(*) as row_count from (
                {{ sql.replace(is_not_accepted(entries), entry.condition) }}
            ) as found
            {{ 'where ' ~ entry.condition if not is_generic }}
        {%- endset -%}
        {%- if run_query(found).columns[0].values()[0] == 0 -%}
            {%- do refuse_entry(entry, 'matches no row that the test finds: remove it') -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if is_generic -%}
        {{ return(main_sql) }}
    {%- endif -%}
    {{ return(
        'select * from (\n' ~ main_sql ~ '\n) as found\nwhere ' ~ is_not_accepted(entries)
    ) }}
{%- endmacro %}

{% macro refuse_entry(entry, why) -%}
    {%- do exceptions.raise_compiler_error(
        'seeds/accepted_rows.csv: the entry ' ~ entry.key ~ ' of ' ~ model.name ~ ' ' ~ why ~ '.'
    ) -%}
{%- endmacro %}
