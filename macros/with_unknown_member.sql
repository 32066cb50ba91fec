{% macro with_unknown_member(members, unknown={}) -%}
    {%- set columns = contract_columns() -%}
select
    {{ columns | map(attribute='name') | join(',\n    ') }}
from {{ members }}

union all

select
    {%- for column in columns %}
    {{ unknown[column.name] if column.name in unknown else unknown_value(column) }}
        as {{ column.name }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{% macro unknown_value(column) -%}
    {%- set of_its_version = {
        'version_number': '1',
        'is_current': 'true',
        'valid_from': beginning_of_time(),
        'valid_to': end_of_time(),
        '_loaded_at': beginning_of_time(),
    } -%}
    {%- set size = modules.re.match('varchar\\((\\d+)\\)', column.data_type) -%}
    {%- if column.name in of_its_version -%}
        {{ of_its_version[column.name] }}
    {%- elif column.name.endswith('_key') -%}
        {{ "'-1'" if size else '-1' }}
    {%- elif column.data_type == 'boolean' -%}
        false
    {%- elif size and size.group(1) | int >= 'Unknown' | length -%}
        'Unknown'
    {%- else -%}
        null
    {%- endif -%}
{%- endmacro %}
