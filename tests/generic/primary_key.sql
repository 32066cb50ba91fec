{% test primary_key(model, columns, new_by=none, new_in=none) %}
{%- set untested = has_untested_value(new_in, new_by) -%}
select
    {%- for column in columns %}
    {{ column }} as key_part_{{ loop.index }},
    {%- endfor %}
    count(*) as row_count
from {{ model }}
{{ 'where ' ~ untested if untested }}
group by {{ columns | join(', ') }}
having
    count(*) > 1
    {%- for column in columns %}
    or {{ column }} is null
    {%- endfor %}
{% endtest %}
