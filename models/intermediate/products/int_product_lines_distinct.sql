with product_lines as (

    select * from {{ ref('stg_classicmodels__product_lines') }}

),

-- The hash decides between rows of one load, so that the choice is the same each time.
ranked as (

    select
        *,
        row_number() over (
            partition by product_line
            order by _loaded_at, {{ dbt.hash("coalesce(text_description, '')") }}
        ) as choice
    from product_lines

),

final as (

    select
        -- keys
        product_line,

        -- attributes
        text_description,
        html_description,
        image,

        -- metadata
        _loaded_at,
        _batch_id

    from ranked
    where choice = 1

)

select * from final
