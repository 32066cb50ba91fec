{% test adds_up_to(model, parents, by="'all'", new_by=none) %}
{%- set in_question = has_untested_value(parents[0].to, new_by) -%}
{#- What agreed before this run agrees now if the changes do. Where not, the query below says by how much. -#}
{%- if not in_question and model is not string and knows_all_changes() -%}
    {%- set differences = sums_that_differ(model, parents, by, of_changes=true) -%}
    {%- set in_question = '' if run_query(differences ~ ' limit 1').rows else '1 = 0' -%}
{%- endif -%}
{{ sums_that_differ(model, parents, by, in_question) }}
{% endtest %}
