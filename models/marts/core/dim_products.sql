{{ config(unique_key='product_version_key') }}

with products as (

    {{ snapshot_versions(ref('products_snapshot'), 'product_code') }}

),

product_lines as (

    {{ snapshot_versions(ref('product_lines_snapshot'), 'product_line') }}

),

-- Stock moves with every sale and makes no versions: the current one has today's.
stock as (

    select
        product_code,
        quantity_in_stock
    from {{ ref('stg_classicmodels__products') }}

),

-- A version of the product for each version of its line that it overlaps.
described as (

    select
        -- keys
        products.product_code,

        -- attributes
        products.product_name,
        coalesce(products.product_line, 'Unknown') as product_line,
        products.product_scale,
        products.product_vendor,
        products.product_description,
        product_lines.text_description as product_line_description,

        -- numbers
        products.buy_price,
        products.msrp,

        -- flags
        products.is_deleted,

        -- dates
        greatest(products.valid_from, product_lines.valid_from) as valid_from,
        least(products.valid_to, product_lines.valid_to) as valid_to,

        -- metadata
        greatest(products.dbt_valid_from, product_lines.dbt_valid_from) as _loaded_at

    from products
    left join product_lines
        on
            products.product_line = product_lines.product_line
            and products.valid_from < product_lines.valid_to
            and products.valid_to > product_lines.valid_from

),

versions as (

    {{ merged_versions('described', [
        'product_code', 'product_name', 'product_line', 'product_scale', 'product_vendor',
        'product_description', 'product_line_description', 'buy_price', 'msrp', 'is_deleted',
    ]) }}

),

final as (

    select
        -- keys
        {{ entity_key(['versions.product_code', 'versions.valid_from']) }} as product_version_key,
        {{ entity_key(['versions.product_code']) }} as product_key,
        versions.product_code,

        -- attributes
        versions.product_name,
        versions.product_line,
        versions.product_scale,
        versions.product_vendor,
        versions.product_description,
        versions.product_line_description,

        -- numbers
        versions.buy_price,
        versions.msrp,
        stock.quantity_in_stock,
        cast(versions.version_number as integer) as version_number,

        -- flags
        versions.is_current,
        versions.is_deleted,

        -- dates
        versions.valid_from,
        versions.valid_to,

        -- metadata
        versions._loaded_at

    from versions
    left join stock
        on
            versions.product_code = stock.product_code
            and versions.is_current

    union all

    select
        '-1' as product_version_key,
        '-1' as product_key,
        'Unknown' as product_code,
        'Unknown' as product_name,
        'Unknown' as product_line,
        'Unknown' as product_scale,
        'Unknown' as product_vendor,
        'Unknown' as product_description,
        'Unknown' as product_line_description,
        null as buy_price,
        null as msrp,
        null as quantity_in_stock,
        1 as version_number,
        true as is_current,
        false as is_deleted,
        {{ beginning_of_time() }} as valid_from,
        {{ end_of_time() }} as valid_to,
        {{ beginning_of_time() }} as _loaded_at

)

select * from final
