{%- macro generate_surrogate_key(field_list) -%}
    {{ return(adapter.dispatch('generate_surrogate_key', 'dbt_utils')(field_list)) }}
{%- endmacro -%}

{%- macro default__generate_surrogate_key(field_list) -%}
    {%- if var('surrogate_key_treat_nulls_as_empty_strings', false) -%}
        {%- set for_null = '' -%}
    {%- else -%}
        {%- set for_null = '_dbt_utils_surrogate_key_null_' -%}
    {%- endif -%}
    {%- set texts = [] -%}
    {%- for field in field_list -%}
        {%- do texts.append(
            "coalesce(cast(%s as %s), '%s')" | format(field, dbt.type_string(), for_null)
        ) -%}
    {%- endfor -%}
    {{ dbt.hash(texts | join(" || '-' || ")) }}
{%- endmacro -%}
