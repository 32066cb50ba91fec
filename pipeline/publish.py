"""Readers of PostgreSQL see one state of all marts: built and tested beside them, then published.

A build works in the schema `working`, which has a copy of each model and snapshot. When all is
green, one transaction carries the rows that differ into the published tables, which stay the same
tables with their rights, views and indexes. A build that fails publishes nothing, neither marts nor
history; the next one first takes `working` back to what is published.

Triggers on both tables of a pair note the keys of the rows that somebody wrote, so that only these
are compared. A table that is new, and so has no triggers, is compared or copied as a whole.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

import psycopg
from psycopg import sql

from pipeline.dbt_runner import Relation
from pipeline.postgres_relations import Catalog, Found, Name, listed
from pipeline.project import WORKING, schema_name
from pipeline.warehouse import Warehouse
from pipeline.working_copy import CopyError

T = TypeVar("T")
# The relations of the working schema and those that are published, by their names.
State = tuple[dict[str, Found], dict[str, Found]]
ATTEMPTS = 5  # a reader who holds one view and waits for another makes a deadlock with its change
NOTE_KEYS = """
begin
    if tg_op = 'TRUNCATE' then
        -- No key: all rows are to be compared.
        execute format('insert into %s default values', tg_argv[0]);
    else
        execute format('insert into %s select %s from written', tg_argv[0], tg_argv[1]);
        if tg_op = 'UPDATE' then
            execute format('insert into %s select %s from before', tg_argv[0], tg_argv[1]);
        end if;
    end if;
    return null;
end
"""
# To go through fewer rows takes no longer than to keep an index of them.
LARGE = """
select c.relname
from pg_class as c
inner join pg_namespace as n on c.relnamespace = n.oid
where n.nspname = {} and c.relkind = 'r' and c.reltuples >= 10000
"""
EVENTS = {
    "insert": "referencing new table as written",
    "update": "referencing old table as before new table as written",
    "delete": "referencing old table as written",
    "truncate": "",
}


class PublishError(CopyError):
    """The working schema cannot be made or published; the text says why and what to do."""


@dataclass(frozen=True)
class Published:
    """What became visible: how many rows of how many tables, and views of others that are gone.

    `moved`: tables that are new, or have other columns, have left the working schema.
    """

    rows: int
    tables: int
    lost: Sequence[str]
    moved: int = 0


class Publisher:
    """Keeps a copy of models and snapshots in the working schema, and publishes it."""

    def __init__(self, warehouse: Warehouse, relations: Sequence[Relation]) -> None:
        self.warehouse, self._relations = warehouse, relations
        self.schema = schema_name(warehouse.schema, WORKING)
        names = [relation.name for relation in relations]
        if twice := {name for name in names if names.count(name) > 1}:
            raise PublishError(
                f"Two models or snapshots have the alias {min(twice)}. A build works on all of them"
                f" in the schema {self.schema}: give one another alias."
            )
        self._schemas = list(dict.fromkeys(relation.schema for relation in relations))
        # What the catalog had when all views were last compared and published.
        self._compared: State | None = None

    def prepare(self) -> int:
        """Take the working schema back to what is published; returns how many tables were copied.

        Raises PublishError.
        """
        return self._in_one_transaction(self._prepare, "The working schema cannot be made")

    def publish(self) -> Published:
        """Let readers see the working schema, all of it at one moment. Raises PublishError."""
        done, before = self._in_one_transaction(self._publish, "Nothing was published")
        # Not before the commit. What this has changed is not in it, and is compared once more.
        self._compared = before
        return done

    def prepared_lines(self) -> list[str]:
        """Prepare; says what had to be copied. Raises PublishError."""
        copied = self.prepare()
        return [f"{copied} tables copied to the schema {self.schema}"] if copied else []

    def published_lines(self, *, is_good: bool) -> list[str]:
        """Publish what a good build made; says what readers see now. Raises PublishError."""
        if not is_good:
            return [
                "nothing: marts and history are what they were before, and the schema"
                f" {self.schema} shows what failed"
            ]
        done = self.publish()
        if done.moved:
            # Now, so that the next build costs what it changes; if it fails, that one copies them.
            with suppress(PublishError):
                self.prepare()
        lines = [f"{done.rows:,} rows of {done.tables} tables of marts and history, at one moment"]
        lines += [
            f"WARNING: the view {view} is gone, as columns of what it reads changed: make it again"
            for view in done.lost
        ]
        return lines

    def _in_one_transaction(self, do: Callable[[Catalog], T], failed: str) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self._connection() as connection, connection.transaction():
                    return do(Catalog(connection))
            except psycopg.errors.DeadlockDetected:
                if attempt == ATTEMPTS:
                    raise PublishError(
                        f"{failed}: readers of {self.warehouse.place} hold views that have to"
                        " change. Run make build again when they are done."
                    ) from None
                time.sleep(attempt)
            except psycopg.errors.InsufficientPrivilege as error:
                raise PublishError(
                    f"{failed} in {self.warehouse.place}: {_line(error)}. Let an administrator run"
                    " make roles APPLY=1, or create the schema for you."
                ) from None
            except psycopg.Error as error:
                raise PublishError(
                    f"{failed} in {self.warehouse.place}: {_line(error)}. Readers see what they"
                    " saw before."
                ) from None
        raise AssertionError

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection]:
        with closing(self.warehouse.connect()) as connection:
            connection.autocommit = True
            yield connection

    # -- the working schema ------------------------------------------------------------------------

    def _prepare(self, catalog: Catalog) -> int:
        for schema in (self.schema, *self._schemas):
            catalog.make_schema(schema)
        catalog.run(
            "create or replace function {} () returns trigger language plpgsql as {}",
            *(self._function, sql.Literal(NOTE_KEYS)),
        )
        copied = 0
        working, public = self._working(catalog), self._public(catalog)
        for relation in self._relations:
            ours, theirs = working.get(relation.name), public.get(relation.name)
            if theirs is None:
                catalog.drop(ours)
            elif ours and theirs.is_table and self._is_noted(relation, ours, theirs):
                self._carry(catalog, relation, theirs, ours)
            elif theirs.is_table:
                catalog.drop(ours)
                self._copy(catalog, relation, theirs)
                copied += 1
        for relation in self._relations:
            theirs = public.get(relation.name)
            if theirs and not theirs.is_table:
                path = [*self._schemas, self.schema]
                self._copy_view(catalog, theirs, path, Name(self.schema, relation.name), path[::-1])
        self._index_keys(catalog)
        return copied

    def _index_keys(self, catalog: Catalog) -> None:
        """Let few rows of a large table be found by their keys; what is published gets the same."""
        large = {name for (name,) in catalog.ask(LARGE, sql.Literal(self.schema))}
        for relation, ours in self._built(self._working(catalog)):
            if relation.name in large and relation.key and set(relation.key) <= set(ours.columns):
                index = re.compile(rf"\bUSING btree \({re.escape(', '.join(relation.key))}[,)]")
                if not any(index.search(known.replace('"', "")) for known in ours.indexes):
                    catalog.run("create index on {} ({})", ours.name, listed(relation.key))

    def _copy(self, catalog: Catalog, relation: Relation, public: Found) -> None:
        name = Name(self.schema, relation.name)
        catalog.run("create table {} (like {} including all)", name, public.name)
        catalog.run("insert into {} select * from {}", name, public.name)
        (made,) = catalog.relations([self.schema], [relation.name])
        catalog.copy_details(public, made)
        self._note_from_now(catalog, relation, made, public)
        catalog.run("analyze {}", name)

    # -- what is published -------------------------------------------------------------------------

    def _publish(self, catalog: Catalog) -> tuple[Published, State]:
        rows = tables = 0
        working, public = self._working(catalog), self._public(catalog)
        before = working, dict(public)
        replaced: list[tuple[Relation, Found]] = []
        for relation, ours in self._built(working):
            theirs = public.get(relation.name)
            if not ours.is_table:
                continue
            if theirs is None or not theirs.is_table or theirs.shape != ours.shape:
                written = catalog.count(ours)
                replaced.append((relation, ours))
            else:
                if not self._is_noted(relation, ours, theirs):
                    self._note_from_now(catalog, relation, ours, theirs)
                    self._note_differences(catalog, relation, ours, theirs)
                written = self._carry(catalog, relation, ours, theirs)
                catalog.copy_details(ours, theirs)
            rows, tables = rows + written, tables + bool(written)
        # Last, as the rest locks readers out until the end of the transaction.
        for relation, ours in replaced:
            theirs = public.get(relation.name)
            catalog.drop(theirs)
            catalog.run("alter table {} set schema {}", ours.name, sql.Identifier(relation.schema))
            catalog.keep_rights(theirs, self._public(catalog)[relation.name])
        catalog.put_back()
        # Hundreds of statements, which a watch would send after each batch.
        if before != self._compared:
            self._publish_views(catalog)
        lost = [str(name) for name in catalog.put_back() if name.schema != self.schema]
        return Published(rows, tables, lost, len(replaced)), before

    def _publish_views(self, catalog: Catalog) -> None:
        path, other = [self.schema, *self._schemas], [*self._schemas, self.schema]
        for relation, ours in self._built(self._working(catalog)):
            if not ours.is_table:
                name = Name(relation.schema, relation.name)
                self._copy_view(catalog, ours, path, name, other)

    def _copy_view(
        self, catalog: Catalog, view: Found, path: Sequence[str], name: Name, other: Sequence[str]
    ) -> None:
        """Let the view `name` read in the schemas `other` what `view` reads in those of `path`."""
        definition = catalog.definition(view, path)
        found = catalog.relations([name.schema], [name.relation])
        if found and found[0].is_table:
            catalog.drop(found.pop())
        if not found or catalog.definition(found[0], other) != definition:
            catalog.make_view(name, definition, other)
            found = catalog.relations([name.schema], [name.relation])
        catalog.copy_details(view, found[0])

    def _built(self, working: dict[str, Found]) -> list[tuple[Relation, Found]]:
        """What the working schema has, each after what it reads."""
        return [(r, working[r.name]) for r in self._relations if r.name in working]

    def _working(self, catalog: Catalog) -> dict[str, Found]:
        names = [relation.name for relation in self._relations]
        return {f.name.relation: f for f in catalog.relations([self.schema], names)}

    def _public(self, catalog: Catalog) -> dict[str, Found]:
        names = {Name(relation.schema, relation.name) for relation in self._relations}
        found = catalog.relations(self._schemas, [name.relation for name in names])
        return {f.name.relation: f for f in found if f.name in names}

    # -- rows --------------------------------------------------------------------------------------

    def _carry(self, catalog: Catalog, relation: Relation, source: Found, target: Found) -> int:
        """Give the target the source's rows of the noted keys; returns how many keys differed."""
        notes, key = self._notes(relation), listed(self._key(relation, source))
        if not catalog.ask("select 1 from {} limit 1", notes):
            return 0
        unknown = sql.SQL(" or ").join(
            sql.SQL("{} is null").format(sql.Identifier(c)) for c in self._key(relation, source)
        )
        if catalog.ask("select 1 from {} where {} limit 1", notes, unknown):
            catalog.run("truncate {}", notes)
            catalog.run("delete from {}", target.name)
            catalog.run("insert into {} select * from {}", target.name, source.name)
            written = catalog.count(source)
        else:
            noted = sql.SQL("where ({0}) in (select {0} from {1})").format(key, notes.sql)
            catalog.run(
                "create temporary table differing on commit drop as select distinct {0} from"
                " ((select * from {1} {3} except all select * from {2} {3}) union all"
                " (select * from {2} {3} except all select * from {1} {3})) as rows",
                *(key, source.name, target.name, noted),
            )
            differing = sql.SQL("where ({0}) in (select {0} from pg_temp.differing)").format(key)
            catalog.run("delete from {} {}", target.name, differing)
            catalog.run("insert into {} select * from {} {}", target.name, source.name, differing)
            written = catalog.ask("select count(*) from pg_temp.differing")[0][0]
            catalog.run("drop table pg_temp.differing")
        catalog.run("truncate {}", notes)
        return int(written)

    def _note_differences(
        self, catalog: Catalog, relation: Relation, found: Found, public: Found
    ) -> None:
        """Note the keys of all rows that are not the same in both."""
        key = listed(self._key(relation, found))
        catalog.run(
            "insert into {0} select {1} from"
            " ((select * from {2} except all select * from {3})"
            " union all (select * from {3} except all select * from {2})) as differing",
            self._notes(relation),
            key,
            found.name,
            public.name,
        )

    # -- notes of keys -----------------------------------------------------------------------------

    @property
    def _function(self) -> Name:
        return Name(self.schema, "note_keys")

    def _notes(self, relation: Relation) -> Name:
        return Name(self.schema, f"{relation.name}__keys")

    def _key(self, relation: Relation, found: Found) -> Sequence[str]:
        is_known = relation.key and set(relation.key) <= set(found.columns)
        return relation.key if is_known else found.columns

    def _is_noted(self, relation: Relation, ours: Found, theirs: Found) -> bool:
        """Whether both tables have noted every write since they were the same."""
        arguments = (self._notes(relation).sql, listed(self._key(relation, ours)))
        key = "".join(f"{argument.as_string()}\\000" for argument in arguments)
        noting = ours.triggers == theirs.triggers == [key] * len(EVENTS)
        return noting and ours.shape == theirs.shape

    def _note_from_now(
        self, catalog: Catalog, relation: Relation, found: Found, public: Found
    ) -> None:
        notes, key = self._notes(relation), listed(self._key(relation, found))
        catalog.run("drop table if exists {}", notes)
        catalog.run("create table {} as select {} from {} limit 0", notes, key, found.name)
        arguments = sql.SQL("{}, {}").format(
            sql.Literal(catalog.text(notes.sql)), sql.Literal(catalog.text(key))
        )
        for table in (found, public):
            for event, rows in EVENTS.items():
                trigger = sql.Identifier(f"note_{event}")
                catalog.run("drop trigger if exists {} on {}", trigger, table.name)
                catalog.run(
                    "create trigger {} after {} on {} {} for each statement"
                    " execute function {} ({})",
                    *(trigger, sql.SQL(event), table.name, sql.SQL(rows)),
                    *(self._function, arguments),
                )


def _line(error: psycopg.Error) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
