{#- Only an order that is new, or has lost lines, can be without lines now. Raw lines that are gone are there. -#}
{% macro orders_that_may_lack_lines() -%}
    {%- set orders, lines = ref('stg_classicmodels__orders'), source('classicmodels', 'orderdetails') -%}
    {%- set query -%}
        select order_number from {{ orders }}
        where {{ untested() }}
        union
        select ordernumber as order_number from {{ lines }}
        where _deleted_at is not null and {{ untested() }}
    {%- endset -%}
    {{ return(is_one_of('order_number', query) if tested_through() else '') }}
{%- endmacro %}

{#- Only an order that is new, or has other lines, can be there twice now. -#}
{% macro customers_of_orders_that_may_be_twice() -%}
    {%- set orders, lines = ref('stg_classicmodels__orders'), source('classicmodels', 'orderdetails') -%}
    {%- set query -%}
        select distinct customer_number from {{ orders }}
        where
            order_number in (select order_number from {{ orders }} where {{ untested() }})
            or order_number in (select ordernumber from {{ lines }} where {{ untested() }})
    {%- endset -%}
    {{ return(is_one_of('customer_number', query) if tested_through() else '') }}
{%- endmacro %}
