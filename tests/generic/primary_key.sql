{% test primary_key(model, columns, few_by=none, raw=none, new_by=none, new_in=none) %}
{%- set untested = has_untested_value(new_in, new_by) -%}
{%- set conditions = [untested] if untested else [] -%}
{%- if raw and not tested_through() and execute and has_whole_numbers(raw.of, raw.numbers) -%}
    {#- No cleaned text is empty. A subquery that finds nothing ends the test before it reads a row. -#}
    {%- set may_be_twice -%}
    coalesce({{ raw.text }}, '') in (
        select coalesce(cleaned_text, '') as cleaned_text
        from (
            select {{ clean_text('raw_text') }} as cleaned_text
            from (
                select distinct {{ raw.text_before }} as raw_text from {{ raw.of }}
                where _deleted_at is null
            ) as raw_texts
        ) as cleaned_texts
        group by cleaned_text
        having
            count(*) > 1
            or cleaned_text is null
    )
    {%- endset -%}
    {%- do conditions.append(may_be_twice) -%}
{%- endif -%}
select
    {%- for column in columns %}
    {{ column }} as key_part_{{ loop.index }},
    {%- endfor %}
    count(*) as row_count
from {{ rows_that_may_repeat(model, columns, few_by) if few_by and not tested_through() else model }}
{{ 'where ' ~ conditions | join(' and ') if conditions }}
group by {{ columns | join(', ') }}
having
    count(*) > 1
    {%- for column in columns %}
    or {{ column }} is null
    {%- endfor %}
{% endtest %}
