{#- Rows of a fact that point to the unknown member although their parent must exist. -#}
{% test known_members(model, columns) %}
select
    {{ columns | join(', ') }},
    count(*) as row_count
from {{ model }}
where '-1' in ({{ columns | join(', ') }})
group by {{ columns | join(', ') }}
{% endtest %}
