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

{#- For rows without `_loaded_at`: a column has one of the values that it has in rows which no green build has
tested. By name, because no database carries a subquery into the joins of a view. Nothing: all rows are tested. -#}
{% macro has_untested_value(relation, column) -%}
    {%- if not (execute and column and tested_through()) -%}
        {{ return('') }}
    {%- endif -%}
    {%- set values = run_query(
        'select distinct ' ~ column ~ ' from ' ~ relation ~ ' where ' ~ untested() ~ ' limit 5000'
    ).columns[0].values() | reject('none') | list -%}
    {{ return(
        '1 = 0' if not values
        else '' if values | length == 5000
        else column ~ " in ('" ~ values | join("', '") ~ "')"
    ) }}
{%- endmacro %}
