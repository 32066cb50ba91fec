with source as (

    select * from {{ source('classicmodels', 'customers') }}
    where _deleted_at is null

),

renamed as (

    select
        -- keys
        cast(customernumber as integer) as customer_number,
        cast(salesrepemployeenumber as integer) as sales_rep_employee_number,

        -- attributes
        {{ clean_text('customername') }} as customer_name,
        {{ clean_text('contactfirstname') }} as contact_first_name,
        {{ clean_text('contactlastname') }} as contact_last_name,
        {{ clean_text('phone') }} as phone,
        {{ clean_text('addressline1') }} as address_line_1,
        {{ clean_text('addressline2') }} as address_line_2,
        {{ clean_text('postalcode') }} as postal_code,
        {{ clean_text('city') }} as city,
        {{ clean_text('state') }} as state,
        {{ clean_text('country') }} as country,

        -- numbers
        cast(creditlimit as numeric(12, 2)) as credit_limit,

        -- metadata
        _loaded_at,
        _batch_id

    from source

)

select * from renamed
