{% macro clean_text(column) -%}
    {{ return(adapter.dispatch('clean_text')(column)) }}
{%- endmacro %}

{% macro default__clean_text(column) -%}
    {%- set blanks = (
        ' \t\n\x0b\x0c\r\x85\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009'
        ~ '\u200a\u200b\u2028\u2029\u202f\u205f\u3000\ufeff'
    ) -%}
    {#- A file without declared types may give a code as a number: the cast makes it text again. -#}
    cast(
        nullif(trim(both '{{ blanks }}' from cast({{ column }} as {{ type_text() }})), '')
        as {{ type_text() }}
    )
{%- endmacro %}

{#- DuckDB reads each text letter by letter to trim it, ten times slower than it sees that there is nothing to trim. #}
{% macro duckdb__clean_text(column) -%}
    {%- set text = 'cast(' ~ column ~ ' as ' ~ type_text() ~ ')' -%}
    case
        when regexp_full_match({{ text }}, '[!-~]([ -~]*[!-~])?') then {{ text }}
        else {{ default__clean_text(column) }}
    end
{%- endmacro %}
