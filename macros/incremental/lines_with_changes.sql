{#- All lines of the orders (or customers ...) that this run has changed, and how: for sums that go on from those
of the last run.
Otherwise, where `by_changes` is false, all lines of all orders, as if each were new. -#}
{% macro lines_with_changes(order_lines, by_changes, key='order_number') -%}
    {%- if not by_changes -%}
select
    *,
    1 as change,
    1 as lines_now
from {{ order_lines }}
    {%- else -%}
select
    *,
    0 as change,
    1 as lines_now
from {{ order_lines }}
where {{ key }} in (
    select {{ key }} from (
        {{ changed_rows_of(order_lines) }}
    ) as changed
)
union all
select
    *,
    0 as lines_now
from (
    {{ changed_rows_of(order_lines) }}
) as changed
    {%- endif -%}
{%- endmacro %}
