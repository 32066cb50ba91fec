"""PostgreSQL: `COPY (select ...) to stdout` inside one repeatable-read, read-only transaction."""

from collections.abc import Collection, Iterator
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from ..dialects.postgres import (
    ALIVE,
    blocks_of_copy,
    connection_problem,
    connection_warnings,
    copied_out,
    hang_up,
    is_lost,
    nothing_answers,
    said,
)
from ..errors import LoadError, SilentError, UsageError
from ..ranges import Digest, Digests, Partition, Scope, cut
from ..schema import BIGINT, INTEGER, SMALLINT, TEXT, Column, Table
from ..urls import SourceUrl
from ..wire import Block, Issues
from .base import Source, Wanted
from .postgres_keys import conditions
from .postgres_relations import chosen_relations
from .postgres_session import settle
from .postgres_text import decoded, text_encoding
from .postgres_values import SIZED, field, type_of

# One row per column of the schema's relations, with its base type and modifier: those behind a
# domain, which may be a domain over another domain.
COLUMNS = """
with recursive bases (type, base, modifier) as (
    select oid, oid, -1 from pg_type
    union all
    select b.type, d.typbasetype, coalesce(nullif(b.modifier, -1), d.typtypmod)
    from bases as b
    inner join pg_type as d on b.base = d.oid
    where d.typtype = 'd'
)
select
    c.relname, c.relkind, c.reltuples::bigint, a.attname, not a.attnotnull, t.typname,
    format_type(a.atttypid, a.atttypmod), coalesce(nullif(a.atttypmod, -1), b.modifier)
from pg_class as c
inner join pg_namespace as n on c.relnamespace = n.oid
inner join pg_attribute as a on c.oid = a.attrelid and a.attnum > 0 and not a.attisdropped
inner join bases as b on a.atttypid = b.type
inner join pg_type as t on b.base = t.oid and t.typtype <> 'd'
where n.nspname = %s and c.relname = any(%s)
order by c.relname, a.attnum
"""

PARTITION_OF = """
select p.relname
from pg_class as c
inner join pg_namespace as n on c.relnamespace = n.oid
inner join pg_inherits as i on c.oid = i.inhrelid
inner join pg_class as p on i.inhparent = p.oid
where n.nspname = %s and lower(c.relname) = %s and c.relispartition
"""

# Unique, immediate, whole indexes over columns that are never null; the primary key first.
KEYS = """
select c.relname, i.indexrelid, a.attname
from pg_index as i
inner join pg_class as c on i.indrelid = c.oid
inner join pg_namespace as n on c.relnamespace = n.oid
cross join unnest(i.indkey::smallint []) with ordinality as k (attnum, position)
left join pg_attribute as a on c.oid = a.attrelid and k.attnum = a.attnum
where
    n.nspname = %s and i.indisunique and i.indimmediate and i.indisvalid
    and i.indpred is null and i.indexprs is null and k.position <= i.indnkeyatts
    and not exists (
        select 1 from pg_attribute as o
        where
            o.attrelid = c.oid and not o.attnotnull
            and o.attnum = any((i.indkey::smallint [])[0:i.indnkeyatts - 1])
    )
order by c.relname, i.indisprimary desc, i.indexrelid, k.position
"""


# Tables, and the parts of these, that are not in the file in which the snapshot knows them: after
# `truncate`, a rewrite by `alter table`, or a new table of that name, the server shows no rows to
# older snapshots. The functions see what is now, and the catalog's tables what the snapshot shows.
MOVED = """
with recursive parts (id) as (
    select c.oid
    from pg_class as c
    inner join pg_namespace as n on c.relnamespace = n.oid
    where n.nspname = %s and c.relname = any(%s)
    union
    select i.inhrelid
    from pg_inherits as i
    inner join parts as p on i.inhparent = p.id
)
select n.nspname, c.relname
from parts as p
inner join pg_class as c on p.id = c.oid
inner join pg_namespace as n on c.relnamespace = n.oid
where
    c.relkind in ('r', 'm')
    -- A part may be in a schema in which the user may not look for names.
    and pg_relation_filenode(
        case
            when has_schema_privilege(n.oid, 'usage')
                then to_regclass(format('%%I.%%I', n.nspname, c.relname))
            else c.oid
        end
    ) is distinct from c.relfilenode
order by 1, 2
"""


def open_source(url: SourceUrl) -> "PostgresSource":
    """Connect and begin the snapshot. Raises LoadError in one sentence."""
    return PostgresSource(url)


class PostgresSource(Source):
    """One connection in one REPEATABLE READ, READ ONLY transaction."""

    marks_infinity = True

    def __init__(self, url: SourceUrl) -> None:
        self.url = url
        self.schema = url.options.get("schema", "public")
        self._connection = connect(url)
        self._encoding = text_encoding(self._connection, url)
        self.warnings = connection_warnings(self._connection, "source")
        self.left_out: dict[str, str] = {}
        # Tables whose children are read as tables of their own, or could be.
        self._only: set[str] = set()
        # By table; nothing changes in the snapshot.
        self._counts: dict[str, int] = {}
        self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        self._connection.read_only = True
        try:
            settle(self._connection, self.schema)
            exists = self._connection.execute(
                "select 1 from pg_namespace where nspname = %s", [self.schema]
            ).fetchone()
        except psycopg.Error as error:
            raise self._failed("preparing the source's snapshot", error) from None
        if not exists:
            raise LoadError(
                f"The PostgreSQL database {url.database} at {url.address} has no schema"
                f" {self.schema}: name another with ?schema=... in the source URL."
            )

    def abort(self) -> None:
        hang_up(self._connection)

    def close(self) -> None:
        self._connection.close()

    def tables(self, wanted: Wanted) -> list[Table]:
        """Base and partitioned tables of the schema; views and foreign tables that are wanted."""
        try:
            return self._tables(wanted)
        except psycopg.Error as error:
            raise self._failed("reading the source's catalog", error) from None

    def _tables(self, wanted: Wanted) -> list[Table]:
        kinds = chosen_relations(self._connection, self.url, self.schema, wanted, self)
        # Else a child's row would be read twice, and the parent's key does not hold for it.
        self._only = {name for name, kind in kinds.items() if kind in "rf"}
        columns = self._connection.execute(COLUMNS, [self.schema, list(kinds)]).fetchall()
        keys = self._keys()
        by_table: dict[str, list[Column]] = {}
        estimates: dict[str, int | None] = {}
        details: dict[str, dict[str, object]] = {}
        for name, _, estimate, column, nullable, base, declared, modifier in columns:
            kind = type_of(base, modifier)
            note = None
            if base == "numeric" and kind is TEXT:
                note = f"{declared} loaded as text: no precision of at most 38 digits"
            by_table.setdefault(name, []).append(
                Column(
                    column,
                    column.lower(),
                    declared,
                    kind,
                    nullable,
                    note,
                    # PostgreSQL counts its own four bytes in.
                    length=modifier - 4 if base in SIZED and (modifier or 0) > 4 else None,
                )
            )
            estimates[name] = estimate if estimate >= 0 else None
            details.setdefault(name, {})[column] = base
        return [
            Table(
                name,
                name.lower(),
                tuple(found),
                keys.get(name, ()),
                estimates[name],
                detail=details[name],
            )
            for name, found in by_table.items()
        ]

    def why_hidden(self, name: str) -> str | None:
        """A partition is not listed, because its rows are read with the table that it is part of.

        A user sees in the catalog also what it may not read.
        """
        row = self._connection.execute(PARTITION_OF, [self.schema, name]).fetchone()
        return f"it is a partition of {row[0]} now, with which its rows are loaded" if row else None

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a query in the snapshot."""
        try:
            return self._connection.execute(query.encode(), values or None).fetchall()
        except psycopg.Error as error:
            raise self._failed("reading the source's catalog", error) from None

    def count(self, table: Table, scope: Scope) -> int:
        if scope.keys is not None:
            plain = sql.SQL("select count(*) from {}{}")
            queries = (
                plain.format(self._name(table), where) for where in conditions(table, scope.keys)
            )
            return sum(int(self._row(query, f"counting {table.name}")[0]) for query in queries)
        if scope.after is None and table.name in self._counts:
            return self._counts[table.name]
        query = sql.SQL("select count(*) from {}{}").format(self._name(table), _after(scope))
        return int(self._row(query, f"counting the source table {table.name}")[0])

    def check_unmoved(self, tables: Collection[Table]) -> None:
        # What was read is locked until the snapshot ends, so this can only have come before.
        names = [table.name for table in tables]
        for schema, name in self.rows(MOVED, self.schema, names) if names else ():
            raise LoadError(
                f"The source table {schema}.{name} was truncated, rewritten or made anew after the"
                " load began, and PostgreSQL does not show what it had then: nothing was published."
                " Load again."
            )

    def partition(self, table: Table) -> Partition | None:
        """Key ranges over the leading key column, when that is an integer."""
        if not table.key or table.key_columns[0].type not in (SMALLINT, INTEGER, BIGINT):
            return None
        key = table.key_columns[0]
        if table.detail[key.name] == "bit":
            return None  # it arrives as an integer, but has no smallest value
        low, high, rows = self._row(
            sql.SQL("select min({0}), max({0}), count(*) from {1}").format(
                sql.Identifier(key.name), self._name(table)
            ),
            f"looking for the range of the key of {table.name}",
        )
        self._counts[table.name] = rows
        return cut(key, low, high, rows)

    def digests(self, table: Table, partition: Partition, before: Digests) -> Digests | None:
        """One query returns a count and an md5 for each range."""
        # Each field with its length, so that no two rows give one line.
        line = sql.SQL(" || ").join(
            sql.SQL("coalesce(length({0}::text) || ':' || {0}::text, '-')").format(
                field(column, table)
            )
            for column in table.columns
        )
        query = sql.SQL(
            "select number, count(*), md5(string_agg(line, '')) from"
            " (select {key}::bigint / {width} as number, {line} as line"
            " from {table} order by {order}) as lines group by number"
        ).format(
            key=sql.Identifier(partition.column.name),
            width=sql.Literal(partition.width),
            line=line,
            table=self._name(table),
            order=sql.SQL(", ").join(sql.Identifier(name) for name in table.key),
        )
        try:
            found = self._connection.execute(query).fetchall()
        except psycopg.Error as error:
            raise self._failed(f"digesting the source table {table.name}", error) from None
        return Digests({number: Digest(rows, value) for number, rows, value in found})

    def read(self, table: Table, scope: Scope, issues: Issues) -> Iterator[Block]:
        """The rows of a table from the server's COPY, respelled for the wire."""
        if scope.keys is not None:
            for where in conditions(table, scope.keys):
                yield from self._copied(table, where)
            return
        where = _after(scope)
        if scope.partition is not None and scope.numbers is not None:
            where = sql.SQL(" where {}::bigint / {} = any({}::bigint[])").format(
                sql.Identifier(scope.partition.column.name),
                sql.Literal(scope.partition.width),
                sql.Literal(sorted(scope.numbers)),
            )
        elif scope.partition is not None and scope.after is None:
            scope.digests.update(self.digests(table, scope.partition, Digests()) or {})
        yield from self._copied(table, where)

    def _copied(self, table: Table, where: sql.Composable) -> Iterator[Block]:
        """The rows of which a condition holds."""
        fields = sql.SQL(", ").join(field(column, table) for column in table.columns)
        query = sql.SQL("copy (select {} from {}{}) to stdout").format(
            fields, self._name(table), where
        )
        try:
            copied = copied_out(self._connection, query.as_string(self._connection))
            if self._encoding is None:
                yield from blocks_of_copy(copied)
                return
            # The server would refuse bytes that it takes for UTF-8.
            self._connection.execute("set local client_encoding = 'SQL_ASCII'")
            yield from decoded(blocks_of_copy(copied), table, self._encoding)
            self._connection.execute("set local client_encoding = 'UTF8'")
        except psycopg.Error as error:
            raise self._failed(f"reading the source table {table.name}", error) from None

    def _keys(self) -> dict[str, tuple[str, ...]]:
        indexes: dict[str, dict[int, list[str]]] = {}
        for table, index, column in self._connection.execute(KEYS, [self.schema]):
            indexes.setdefault(table, {}).setdefault(index, []).append(column)
        return {table: tuple(next(iter(by_index.values()))) for table, by_index in indexes.items()}

    def _name(self, table: Table) -> sql.Composable:
        name = sql.Identifier(self.schema, table.name)
        return sql.SQL("only {}").format(name) if table.name in self._only else name

    def _row(self, query: sql.Composed, doing: str) -> tuple[Any, ...]:
        try:
            row: tuple[Any, ...] | None = self._connection.execute(query).fetchone()
        except psycopg.Error as error:
            raise self._failed(doing, error) from None
        assert row is not None
        return row

    def _failed(self, doing: str, error: psycopg.Error) -> LoadError:
        if is_lost(self._connection, error):
            text = f"the connection to {self.url.address} was lost"
        else:
            text = said(error)
            if "row-level security" in text:
                # Of a table that a view reads.
                text += f"; let the user {self.url.user} or the view's owner read all its rows"
            elif isinstance(error, psycopg.errors.InsufficientPrivilege):
                text += f"; grant SELECT on it to the user {self.url.user}"
        return LoadError(f"PostgreSQL source, {doing}: {text}.")


def _after(scope: Scope) -> sql.Composable:
    """The condition for rows after a cursor's value."""
    if scope.after is None:
        return sql.SQL("")
    return sql.SQL(" where {} > {}").format(
        sql.Identifier(scope.after[0].name), sql.Literal(scope.after[1])
    )


def connect(url: SourceUrl, **more: str) -> psycopg.Connection:
    """Log in, with more parameters of libpq. Raises LoadError that says what to check."""
    options = {"connect_timeout": "10"} | ALIVE | url.options | {"client_encoding": "utf8"} | more
    options.pop("schema", None)
    login: dict[str, str | None] = {
        "host": url.host,
        "port": str(url.port or ""),
        "user": url.user,
        "password": url.password,
        "dbname": url.database,
    }
    try:
        return psycopg.connect(
            make_conninfo(**{key: value for key, value in login.items() if value} | options)
        )
    except psycopg.ProgrammingError as error:
        raise UsageError(
            f"The source URL has an option PostgreSQL does not know: {error}"
        ) from None
    except (psycopg.Error, ValueError) as error:
        kind = SilentError if nothing_answers(error) else LoadError
        raise kind(
            f"The PostgreSQL source at {url.address} cannot be opened: {connection_problem(error)}"
        ) from None
