{{ config(unique_key='method') }}

{% if is_evaluated(var('days_between_evaluations')) -%}
select * from {{ this }}
{%- else -%}
with cases as (

    select * from {{ ref('int_recommendation_cases_chosen') }}

),

recommendations as (

    select * from {{ ref('int_recommendations_ranked') }}
    where recommendation_rank <= 10

),

data_through as (

    select * from {{ ref('int_data_through') }}

),

methods as (

    select 'Bought together' as method
    union all
    select 'Popularity' as method

),

final as (

    select
        -- keys
        cast(methods.method as varchar(15)) as method,

        -- numbers
        count(cases.case_number) as case_count,
        count(recommendations.case_number) as hit_count,
        {{ quotient('count(recommendations.case_number) * 100', 'count(cases.case_number)', 2) }}
            as hit_rate_percent,

        -- dates
        {{ as_of_date() }} as evaluated_date,
        data_through.data_through_date

    from methods
    -- one row
    cross join data_through
    left join cases on cases.is_hidden
    left join recommendations
        on
            methods.method = recommendations.method
            and cases.case_number = recommendations.case_number
            and cases.product_number = recommendations.product_number
    group by
        methods.method,
        data_through.data_through_date

)

select * from final
{%- endif %}
