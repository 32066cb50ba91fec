{% macro untested() -%}
    {%- if tested_through() -%}
        (_loaded_at > cast('{{ tested_through() }}' as timestamp) or _loaded_at is null)
    {%- else -%}
        1 = 1
    {%- endif -%}
{%- endmacro %}

{% macro tested_through() -%}
    {#- Not while dbt parses: it would parse everything anew whenever the mark moves. -#}
    {{ return(env_var('TESTED_THROUGH', '') if execute else '') }}
{%- endmacro %}

{#- The values of a column in rows that no green build has tested, for a `where` by name: no database
carries a subquery into the joins of a view. None: all rows are tested. -#}
{% macro untested_values(relation, column) -%}
    {%- if not (execute and tested_through()) -%}
        {{ return([]) }}
    {%- endif -%}
    {%- set values = run_query(
        'select distinct ' ~ column ~ ' from ' ~ relation ~ ' where ' ~ untested() ~ ' limit 5000'
    ).columns[0].values() | list -%}
    {{ return(['null'] if not values else [] if values | length == 5000 else values) }}
{%- endmacro %}
