{{ config(unique_key='sales_last_30_days_key') }}

{%- set windows = ['', '_before', '_year_before'] -%}
{%- set measures = ['order_count', 'unit_count', 'revenue_amount', 'gross_margin_amount'] -%}

with sales as (

    select * from {{ ref('sales_daily') }}

),

data_through as (

    select * from {{ ref('int_data_through') }}

),

periods as (

    select
        {{ as_of_date() }} as last_day,
        {{ as_of_date() }} - 29 as first_day,
        {{ as_of_date() }} - 30 as last_day_before,
        {{ as_of_date() }} - 59 as first_day_before,
        cast({{ dbt.dateadd('year', -1, as_of_date()) }} as date) as last_day_year_before,
        cast({{ dbt.dateadd('year', -1, as_of_date()) }} as date) - 29 as first_day_year_before

),

windowed_sales as (

    select
        sales.*,
        periods.first_day,
        periods.last_day,
        sales.order_date between periods.first_day and periods.last_day as is_now,
        sales.order_date between periods.first_day_before and periods.last_day_before
            as is_before,
        sales.order_date between periods.first_day_year_before and periods.last_day_year_before
            as is_year_before

    from sales
    -- one row
    cross join periods

),

-- An order is in one country and on one day: counts of orders can be added up within a line.
summed as (

    select
        {%- for measure in measures %}
        sum(case when is_now then {{ measure }} else 0 end) as {{ measure }},
        sum(case when is_before then {{ measure }} else 0 end) as {{ measure }}_before,
        sum(case when is_year_before then {{ measure }} else 0 end) as {{ measure }}_year_before,
        {%- endfor %}
        product_line,
        region,
        first_day,
        last_day
    from windowed_sales
    group by
        product_line,
        region,
        first_day,
        last_day

),

final as (

    select
        -- keys
        {{ entity_key(['summed.product_line', 'summed.region']) }} as sales_last_30_days_key,

        -- attributes
        summed.product_line,
        summed.region,

        -- numbers
        {%- for measure in measures %}
        {%- for window in windows %}
        cast(
            summed.{{ measure ~ window }}
            as {{ 'bigint' if measure.endswith('count') else 'numeric(18, 2)' }}
        ) as {{ measure ~ window }},
        {%- endfor %}
        {%- endfor %}
        {{ percent_of(
            '(summed.revenue_amount - summed.revenue_amount_before)',
            'summed.revenue_amount_before'
        ) }} as revenue_change_percent,
        {{ percent_of(
            '(summed.revenue_amount - summed.revenue_amount_year_before)',
            'summed.revenue_amount_year_before'
        ) }} as revenue_change_year_percent,

        -- dates
        summed.first_day as first_date,
        summed.last_day as as_of_date,
        data_through.data_through_date

    from summed
    -- one row
    cross join data_through

)

select * from final
