{% test known_members(model, columns) %}
select
    {{ columns | join(', ') }},
    count(*) as row_count
from {{ model }}
where '-1' in ({{ columns | join(', ') }})
group by {{ columns | join(', ') }}
{% endtest %}
