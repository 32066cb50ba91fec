{#- In place of dbt's default__generate_series on PostgreSQL; relies on the column generated_number. dbt's own joins
a table of two rows with itself, 16 times for the days of int_days_spanned, which `make watch` asks for often. -#}
{% macro postgres__generate_series(upper_bound) -%}
    select generated_number from generate_series(1, {{ upper_bound }}) as numbers (generated_number)
{%- endmacro %}

{#- It would take that of PostgreSQL, but knows generate_series() on its leader node alone. -#}
{% macro redshift__generate_series(upper_bound) -%}
    {{ return(dbt.default__generate_series(upper_bound)) }}
{%- endmacro %}
