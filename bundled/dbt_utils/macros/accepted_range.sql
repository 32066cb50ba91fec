{% test accepted_range(model, column_name, min_value=none, max_value=none, inclusive=true) %}
    {{ return(adapter.dispatch('test_accepted_range', 'dbt_utils')(
        model, column_name, min_value, max_value, inclusive
    )) }}
{% endtest %}

{% macro default__test_accepted_range(
    model, column_name, min_value=none, max_value=none, inclusive=true
) %}
{%- set outside = [] -%}
{%- if min_value is not none -%}
    {%- do outside.append(column_name ~ (' < ' if inclusive else ' <= ') ~ min_value) -%}
{%- endif -%}
{%- if max_value is not none -%}
    {%- do outside.append(column_name ~ (' > ' if inclusive else ' >= ') ~ max_value) -%}
{%- endif -%}
select *
from {{ model }}
where {{ outside | join(' or ') if outside else '1 = 0' }}
{% endmacro %}
