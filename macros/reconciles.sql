{#- The left side has `_loaded_at`, the right one keeps its changes. -#}
{% macro reconciles(left, right) -%}
{%- set in_question = '' -%}
{%- if knows_all_changes() -%}
    {%- set changed_keys -%}
        select {{ left.key }} as reconciled_key from {{ left.relation }}
        where {{ untested() }}
        union
        select {{ right.key }} as reconciled_key from {{ rows_or_changes(right.relation, true) }}
    {%- endset -%}
    {%- set in_question = is_one_of('reconciled_key', changed_keys) -%}
{%- endif -%}
with compared as (

    {% for side in [left, right] %}
    {%- set sign = '' if loop.first else '-' %}
    {%- set conditions = [side.where, in_question.replace('reconciled_key', side.key)] | select | list %}
    select
        {{ side.key }} as reconciled_key,
        {{ sign }}1 as row_difference,
        {{ sign }}({{ side.amount }}) as amount_difference
    from {{ side.relation }}
    {{- '\n    where ' ~ conditions | join(' and ') if conditions }}
    {{ 'union all' if not loop.last }}
    {%- endfor %}

)

select
    reconciled_key,
    sum(row_difference) as row_difference,
    sum(amount_difference) as amount_difference
from compared
group by reconciled_key
having
    sum(row_difference) <> 0
    or coalesce(sum(amount_difference), 0) <> 0
{%- endmacro %}
