{% macro delete_gone(entity, key, columns) -%}
    {#- Outside of the condition, because dbt looks for what models need when it parses them. -#}
    {%- set tombstones = ref('stg_classicmodels__tombstones') -%}
    {%- if is_incremental() -%}
        {%- set gone -%}
            from {{ this }}
            where {{ key }} in (
                select {{ entity_key(columns) }}
                from {{ tombstones }}
                where
                    entity = '{{ entity }}'
                    and _loaded_at >= {{ watermark() }}
            )
        {%- endset -%}
        {%- do count_rows('rows_removed', gone) -%}
        delete {{ gone }}
    {%- endif -%}
{%- endmacro %}
