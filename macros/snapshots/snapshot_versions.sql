{% macro snapshot_versions(snapshot, key, changed=none) -%}
select
    *,
    dbt_is_deleted = 'True' as is_deleted,
    case
        when row_number() over (partition by {{ key }} order by dbt_valid_from) = 1
            then {{ beginning_of_time() }}
        else dbt_valid_from
    end as valid_from,
    dbt_valid_to as valid_to
from {{ snapshot }}
where
    dbt_valid_from < dbt_valid_to
    {%- if changed %}
    and {{ key }} in (select {{ key }} from {{ changed }})
    {%- endif %}
{%- endmacro %}
