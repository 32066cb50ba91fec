{% set names = [] %}
{% for node in graph.nodes.values() if execute and node.resource_type == 'test' %}
{% if may_accept_rows(node) %}
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
