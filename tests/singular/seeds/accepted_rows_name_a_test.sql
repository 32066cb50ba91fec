{% set names = [] %}
{% for node in graph.nodes.values() if execute and node.resource_type == 'test' %}
{# Tests of the raw tables can run before the seed is there. #}
{% if node.depends_on.nodes | reject('in', graph.sources) | list %}
{% do names.append("'" ~ node.name ~ "'") %}
{% endif %}
{% endfor %}

select
    test_name,
    row_key
from {{ ref('accepted_rows') }}
where
    test_name not in (
        {{ names | join(',\n        ') or "''" }}
    )
    or row_key not like '_%=_%'
