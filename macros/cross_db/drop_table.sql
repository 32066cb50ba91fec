{#- In place of dbt's postgres__drop_table; relies on dbt dropping a replaced table after its commit. -#}
{% macro postgres__drop_table(relation) -%}
    {#- dbt's own drops the views over a table while it holds the table. A reader who holds such a view
    and waits for the table would be in a deadlock with it. So views go first, each in a statement of
    its own, which after dbt's commit is a transaction of its own. Views of others go with the table. -#}
    {%- set views_over -%}
        with recursive dependents as (
            select cast(to_regclass('{{ relation }}') as oid) as id, 0 as depth
            union
            select pg_rewrite.ev_class, dependents.depth + 1
            from dependents
            inner join pg_depend
                on
                    pg_depend.refobjid = dependents.id
                    and pg_depend.refclassid = cast('pg_class' as regclass)
                    and pg_depend.classid = cast('pg_rewrite' as regclass)
            inner join pg_rewrite
                on pg_depend.objid = pg_rewrite.oid and pg_rewrite.ev_class <> dependents.id
        )

        select format('%I.%I', pg_namespace.nspname, pg_class.relname)
        from (
            select id, max(depth) as depth from dependents where depth > 0 group by id
        ) as views
        inner join pg_class on views.id = pg_class.oid
        inner join pg_namespace on pg_class.relnamespace = pg_namespace.oid
        where pg_class.relkind = 'v' and pg_has_role(pg_class.relowner, 'usage')
        order by views.depth desc
    {%- endset -%}
    {%- for row in run_query(views_over).rows -%}
        {%- call statement('drop_view_over', auto_begin=false) -%}
            drop view if exists {{ row[0] }} cascade
        {%- endcall -%}
    {%- endfor -%}
    drop table if exists {{ relation }} cascade
{%- endmacro %}

{#- dbt's own, which otherwise the one above would hide. -#}
{% macro redshift__drop_table(relation) -%}
    {{ return(dbt.redshift__drop_table(relation)) }}
{%- endmacro %}
