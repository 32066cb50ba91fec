{% macro sums_that_differ(model, parents, by, in_question='', of_changes=false) -%}
{%- set columns = [] -%}
{%- for parent in parents -%}
    {%- do columns.extend(parent.sums) -%}
{%- endfor -%}
{%- set weight = 'change * ' if of_changes else '' -%}
with compared as (

    select
        {{ by }} as compared_key
        {%- for column in columns %},
        {{ weight }}({{ column }}) as sum_{{ loop.index }}
        {%- endfor %}
    from {{ rows_or_changes(model, of_changes) }}
    {{ 'where ' ~ in_question if in_question }}

    {%- for parent in parents %}

    union all

    select
        {{ by }} as compared_key
        {%- for column in columns %},
        {{ '-' ~ weight ~ '(' ~ parent.sums[column] ~ ')' if column in parent.sums else '0' }} as sum_{{ loop.index }}
        {%- endfor %}
    from {{ rows_or_changes(parent.to, of_changes) }}
    {%- set conditions = [in_question, parent.rows] | select | list %}
    {{ 'where (' ~ conditions | join(') and (') ~ ')' if conditions }}
    {%- endfor %}

)

select
    compared_key
    {%- for column in columns %},
    {#- A sum of the mart can be an expression. #}
    sum(sum_{{ loop.index }})
        as difference_{{ column if modules.re.fullmatch('\\w+', column) else loop.index }}
    {%- endfor %}
from compared
group by compared_key
having
    {%- for column in columns %}
    {{ 'or ' if not loop.first }}coalesce(sum(sum_{{ loop.index }}), 0) <> 0
    {%- endfor %}
{%- endmacro %}

{% macro rows_or_changes(relation, of_changes) -%}
    {{ '(' ~ changed_rows_of(relation) ~ ') as changed_rows' if of_changes else relation }}
{%- endmacro %}
