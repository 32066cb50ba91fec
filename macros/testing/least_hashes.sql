{#- Condition for about so many rows, drawn by chance: those with the least keys, which are hashes in hexadecimal
digits. Empty for a smaller table. To sort the keys for the right number took a quarter of the test's time. -#}
{% macro least_hashes(relation, key, most_rows) -%}
    {%- set row_count = run_query('select count(*) from ' ~ relation).rows[0][0] | int -%}
    {%- if row_count <= most_rows -%}
        {{ return('') }}
    {%- endif -%}
    {%- set condition = key ~ " <= '" ~ '%08x' | format(most_rows * 16 ** 8 // row_count) ~ "'" -%}
    {#- Keys that are no such hashes could leave nothing to test. -#}
    {%- set found = run_query('select count(*) from ' ~ relation ~ ' where ' ~ condition).rows[0][0] | int -%}
    {{ return(condition if found > most_rows // 2 else '') }}
{%- endmacro %}
