{% test no_nulls(model, columns) %}
select
    {%- for column in columns %}
    case when {{ column }} is null then 1 else 0 end as {{ column.strip('_') }}_is_null
    {{- ',' if not loop.last }}
    {%- endfor %}
from {{ model }}
where
    {%- for column in columns %}
    {{ 'or ' if not loop.first }}{{ column }} is null
    {%- endfor %}
{% endtest %}
