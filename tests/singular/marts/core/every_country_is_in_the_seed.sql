select
    country,
    count(*) as locations
from {{ ref('dim_locations') }}
where
    location_key <> '-1'
    and country_iso_alpha2 is null
group by country
