{{ config(unique_key='location_key', meta={'keeps_changes': true}) }}

with locations as (

    select * from {{ ref('int_addresses_located') }}

),

final as (

    {{ with_unknown_member('locations') }}

)

select * from final
