{% test complete_history(model, entity_key) %}
with versions as (

    select
        {{ entity_key }},
        version_number,
        is_current,
        valid_from,
        valid_to,
        lag(valid_to) over (partition by {{ entity_key }} order by valid_from) as ended_before,
        lead(valid_from) over (partition by {{ entity_key }} order by valid_from) as next_begins,
        row_number() over (partition by {{ entity_key }} order by valid_from) as position
    from {{ model }}

)

select * from versions
where
    not coalesce(
        valid_from < valid_to
        and valid_from = coalesce(ended_before, {{ beginning_of_time() }})
        and valid_to = coalesce(next_begins, {{ end_of_time() }})
        and is_current = (next_begins is null)
        and version_number = position,
        false
    )
{% endtest %}
