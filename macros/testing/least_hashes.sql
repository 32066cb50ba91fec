{#- Condition for about so many rows, drawn by chance: those with the least keys, which are hashes in hexadecimal
digits. Empty for a smaller table. To sort the keys for the right number took a quarter of the test's time. -#}
{% macro least_hashes(relation, key, most_rows) -%}
    {%- set row_count = counted_rows(relation) -%}
    {%- if row_count <= most_rows -%}
        {{ return('') }}
    {%- endif -%}
    {%- set condition = key ~ " <= '" ~ '%08x' | format(most_rows * 16 ** 8 // row_count) ~ "'" -%}
    {#- Keys that are no such hashes could leave nothing to test. -#}
    {{ return(condition if counted_rows(relation ~ ' where ' ~ condition) > most_rows // 2 else '') }}
{%- endmacro %}

{% macro counted_rows(relation) -%}
    {{ return(run_query('select count(*) from ' ~ relation).rows | map('first') | map('int') | sum) }}
{%- endmacro %}
