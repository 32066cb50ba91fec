{{ config(
    unique_key='product_version_key',
    meta={'history_of': 'product_code', 'keeps_changes': true}
) }}
{%- set since = built_through() %}

with {% if since -%}
-- A new spelling can change the name that all spellings of a line get.
changed_lines as (

    select {{ comparable_text('product_line') }} as line_name
    from {{ ref('product_lines_snapshot') }}
    where dbt_valid_from > {{ since }}

    union

    select {{ comparable_text('product_line') }} as line_name
    from {{ ref('products_snapshot') }}
    group by product_line
    having min(dbt_valid_from) > {{ since }}

),

-- Products that have a new version or another stock, or whose line has changed.
changed_products as (

    select product_code from {{ ref('products_snapshot') }}
    where
        dbt_valid_from > {{ since }}
        or {{ comparable_text('product_line') }} in (select line_name from changed_lines)

    union

    select product_code from {{ ref('stg_classicmodels__products') }}
    where _loaded_at > {{ since }}

),

{% endif -%}

products as (

    {{ snapshot_versions(
        ref('products_snapshot'), 'product_code', 'changed_products' if since
    ) }}

),

product_lines as (

    {{ snapshot_versions(ref('product_lines_snapshot'), 'product_line') }}

),

product_line_names as (

    select * from {{ ref('int_product_line_names') }}

),

named_products as (

    select
        products.*,
        coalesce(product_line_names.standard_name, products.product_line) as standard_line,
        coalesce(product_line_names.described_name, products.product_line) as described_line

    from products
    left join product_line_names on products.product_line = product_line_names.product_line

),

-- Stock moves with every sale and makes no versions: only the current version has it.
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
        {{ entity_key(['products.product_code']) }} as product_key,
        products.product_code,

        -- attributes
        products.product_name,
        coalesce(products.standard_line, 'Unknown') as product_line,
        coalesce(products.product_line, 'Unknown') as product_line_as_spelled,
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

    from named_products as products
    left join product_lines
        on
            products.described_line = product_lines.product_line
            and products.valid_from < product_lines.valid_to
            and products.valid_to > product_lines.valid_from

),

versions as (

    {{ merged_versions(
        'described', 'product_code', 'product_version_key', added_later=['quantity_in_stock']
    ) }}

),

versions_with_stock as (

    select
        versions.*,
        stock.quantity_in_stock

    from versions
    left join stock
        on
            versions.product_code = stock.product_code
            and versions.is_current

),

final as (

    {{ with_unknown_member('versions_with_stock') }}

)

select * from final
