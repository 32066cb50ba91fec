"""What has to be known of PostgreSQL's tables to read keys in its log, and to see changes."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..schema import Table
from ..sources.postgres import PostgresSource

# By table, its columns of the key that the log has with each change: those of its replica identity.
IDENTITIES = """
select c.relname, c.relpersistence::text, c.relreplident::text, array(
    select a.attname::text from pg_index as i
    inner join pg_attribute as a on a.attrelid = c.oid and a.attnum = any(i.indkey::smallint [])
    where i.indrelid = c.oid
        and case c.relreplident when 'd' then i.indisprimary else i.indisreplident end
)
from pg_class as c
inner join pg_namespace as n on c.relnamespace = n.oid
where n.nspname = %s and c.relkind in ('r', 'p')
"""
# By table, what is another when its columns, its key, its partitions or its file are others.
SHAPES = """
select c.relname::text, md5(concat_ws(' ', c.oid, c.relkind, c.relreplident, c.relfilenode, (
    select string_agg(
        concat_ws(' ', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull), ','
        order by a.attnum)
    from pg_attribute as a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
), (
    select string_agg(concat_ws(' ', i.indexrelid, i.indisprimary, i.indisreplident), ','
        order by i.indexrelid)
    from pg_index as i where i.indrelid = c.oid and i.indisunique
), (
    select string_agg(concat_ws(' ', t.relid, p.relfilenode), ',' order by t.relid)
    from pg_partition_tree(c.oid) as t inner join pg_class as p on t.relid = p.oid
)))
from pg_class as c
inner join pg_namespace as n on c.relnamespace = n.oid
where n.nspname = %s and c.relkind in ('r', 'p') and not c.relispartition
"""
# Types whose values the stream spells in another way than a load.
OTHERS = {"float4", "float8", "money", "bit", "varbit"}
# Values that a load would count as lost.
UNREADABLE = {"nan", "infinity", "-infinity"}


@dataclass
class Shape:
    """One table of the source. Without a `key` the log says nothing of it; `why` says why."""

    name: str
    raw_name: str
    key: tuple[str, ...] = ()
    # The types of the key's columns.
    bases: tuple[str, ...] = ()
    why: str = ""


def read_shapes(source: PostgresSource, tables: Sequence[Table]) -> dict[tuple[str, str], Shape]:
    """By schema and name, each table that is followed."""
    identities = {name: found for name, *found in source.rows(IDENTITIES, source.schema)}
    return {
        (source.schema, table.name): _shape(table, identities.get(table.name)) for table in tables
    }


def _shape(table: Table, identity: Sequence[object] | None) -> Shape:
    shape = Shape(table.name, table.raw_name)
    if identity is None:
        shape.why = "it is no table"
        return shape
    persistence, kind, columns = identity
    bases = tuple(str(table.detail[name]) for name in table.key)
    if not table.key:
        shape.why = "it has no key"
    elif persistence != "p":
        shape.why = "it is unlogged"
    elif any(column.hashed for column in table.key_columns):
        shape.why = "its key is hashed"
    elif kind == "n" or (kind != "f" and set(columns) != set(table.key)):  # type: ignore[call-overload]
        shape.why = "its log does not have its key (replica identity)"
    elif OTHERS & set(bases):
        shape.why = "the type of its key is spelled in another way in the log"
    else:
        shape.key, shape.bases = table.key, bases
    return shape
