{#- In place of dbt's default__type_string on Redshift; relies on casts to text asking dbt.type_string(). dbt's
own is `text`, which Redshift takes for varchar(256): a cast cuts longer text off there. -#}
{% macro redshift__type_string() -%}
    {{ return(type_text()) }}
{%- endmacro %}
