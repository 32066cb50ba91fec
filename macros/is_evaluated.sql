{% macro is_evaluated(days) -%}
    {%- if not is_incremental() or env_var('BUILD', '') == 'all' -%}
        {{ return(false) }}
    {%- endif -%}
    {%- set query -%}
        select min(evaluated_date) as evaluated_date from {{ this }}
        having
            min(evaluated_date) > {{ as_of_date() }} - {{ days }}
            and max(evaluated_date) <= {{ as_of_date() }}
    {%- endset -%}
    {{ return(run_query(query).rows | length > 0) }}
{%- endmacro %}
