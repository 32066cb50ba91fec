{% test primary_key(model, columns) %}
select
    {%- for column in columns %}
    {{ column }} as key_part_{{ loop.index }},
    {%- endfor %}
    count(*) as row_count
from {{ model }}
group by {{ columns | join(', ') }}
having
    count(*) > 1
    {%- for column in columns %}
    or {{ column }} is null
    {%- endfor %}
{% endtest %}
