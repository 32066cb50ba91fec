"""What readers of PostgreSQL see of a build: the state before it or after it, of all tables."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from pipeline.dbt_runner import Relation
from pipeline.postgres_relations import Catalog, Found
from pipeline.publish import Publisher, PublishError
from pipeline.warehouse import Postgres
from support.one_run import own
from support.project import PostgresWarehouse
from tools.servers import PostgresServer

RELATIONS = [
    Relation("staging", "stg_lines", []),
    Relation("snapshots", "history", ["dbt_scd_id"]),
    Relation("marts", "lines", ["id"]),
    Relation("marts", "totals", ["name", "day"]),
    Relation("marts", "lines_named", []),
]
RAW = """
create schema raw;
create table raw.lines (id integer, name varchar(8), amount numeric(12,2));
insert into raw.lines select n, 'n' || mod(n, 3), n from generate_series(1, 100) as n
"""
# As dbt makes them, without triggers.
MARTS = """
create view {0}.stg_lines as select * from raw.lines;
create table {0}.history as select cast(id as varchar(9)) as dbt_scd_id, name from raw.lines;
create table {0}.lines as select * from raw.lines;
create index "by id" on {0}.lines (id);
create table {0}.totals as
    select name, cast('2026-01-01' as date) as day, sum(amount) as amount from raw.lines group by 1;
create view {0}.lines_named as
    select l.id, t.name, t.amount from {0}.lines as l inner join {0}.totals as t on l.name = t.name;
comment on column {0}.lines.amount is 'Money.';
comment on view {0}.lines_named is 'Named.'
"""
# A change that both tables have to show.
CHANGE = """
delete from {0}.lines where id = {1};
update {0}.lines set amount = amount + 1, name = 'new' where id = {1} + 1;
insert into {0}.lines values ({1} + 1000, 'n1', 7);
delete from {0}.totals;
insert into {0}.totals select name, '2026-01-01', sum(amount) from {0}.lines group by 1
"""
AGREE = "select (select sum(amount) from marts.lines), (select sum(amount) from marts.totals)"


class House:
    """A database with marts, and what publishes them."""

    def __init__(self, server: PostgresServer, name: str) -> None:
        self.database = PostgresWarehouse(server, name)
        options = {k: str(v) for k, v in conninfo_to_dict(server.url(name)).items()}
        self.publisher = Publisher(Postgres("postgres", "public", options), RELATIONS)
        self.server = server
        self.ask(RAW)

    def ask(self, text: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.server.url(self.database.database)) as connection:
            cursor = connection.execute(text.encode())
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []

    def rows(self, relation: str) -> list[tuple[Any, ...]]:
        return sorted(self.ask(f"select * from {relation}"))

    def same(self) -> bool:
        """Whether the working schema has what is published."""
        return all(
            self.rows(f"{r.schema}.{r.name}") == self.rows(f"working.{r.name}") for r in RELATIONS
        )

    def files(self, *schemas: str) -> list[tuple[Any, ...]]:
        """What is another where a relation was made again."""
        named = ", ".join(f"'{schema}'" for schema in schemas or ("marts", "snapshots", "staging"))
        return self.ask(
            "select c.oid, relname from pg_class as c inner join pg_namespace as n"
            " on relnamespace = n.oid where relkind in ('r', 'v', 'i')"
            f" and nspname in ({named}) order by 1"
        )


@pytest.fixture
def new(postgres: PostgresServer) -> House:
    """Nothing is published yet."""
    return House(postgres, own("publish"))


@pytest.fixture
def house(new: House) -> House:
    """Everything is published, and the working schema is ready."""
    new.publisher.prepare()
    new.ask(MARTS.format("working"))
    new.publisher.publish()
    new.publisher.prepare()
    return new


def test_the_first_build_shows_nothing_until_it_is_published(new: House) -> None:
    new.publisher.prepare()
    new.ask(MARTS.format("working"))
    assert new.files() == []
    done = new.publisher.publish()
    assert (done.rows, done.tables, done.lost) == (203, 3, [])
    assert len(new.rows("marts.lines_named")) == 100
    new.publisher.prepare()
    assert new.same()


def test_only_rows_that_differ_are_carried(house: House) -> None:
    files = house.files()
    house.ask(CHANGE.format("working", 1))
    # Written, but as it was.
    house.ask("update working.lines set amount = amount where id > 50")
    assert house.rows("marts.lines")[0][0] == 1
    done = house.publisher.publish()
    assert (done.rows, done.tables, done.lost) == (6, 2, [])
    assert house.same() and house.files() == files
    assert house.publisher.publish().rows == 0


@pytest.mark.parametrize(
    "change",
    [
        "create or replace view working.lines_named as"
        " select l.id, l.name, 7.5 as amount from working.lines as l",
        "drop view working.lines_named; create view working.lines_named as"
        " select id, name from working.lines",
        "create or replace view marts.lines_named as"
        " select id, name, 0.0 as amount from marts.lines",
        "drop view marts.lines_named",
        "alter view working.lines_named rename column amount to total",
        "comment on view working.lines_named is 'Other.'",
    ],
)
def test_views_are_compared_where_something_is_another(
    change: str, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    definition = Catalog.definition

    def noted(catalog: Catalog, view: Found, path: Sequence[str]) -> str:
        asked.append(view.name)
        return definition(catalog, view, path)

    monkeypatch.setattr(Catalog, "definition", noted)
    house.publisher.publish()
    asked.clear()
    house.ask(CHANGE.format("working", 1))
    house.publisher.publish()
    assert asked == [] and house.same()
    house.ask(change)
    house.publisher.publish()
    assert asked and house.same()
    comments = "select obj_description('{}.lines_named'::regclass)"
    assert house.ask(comments.format("marts")) == house.ask(comments.format("working"))


def test_few_rows_of_a_large_table_are_found_by_their_keys(house: House) -> None:
    many = "from generate_series(1001, 21000) as n"
    house.ask(f"insert into working.history select n, 'many' {many}; analyze working.history")
    # It has an index by its key.
    house.ask(f"insert into working.lines select n, 'many', n {many}; analyze working.lines")
    before = house.files("marts", "working", "snapshots")
    for _ in range(2):
        house.publisher.publish()
        house.publisher.prepare()
    house.publisher.publish()
    made = {row[1] for row in house.files("marts", "working", "snapshots") if row not in before}
    assert made == {"history_dbt_scd_id_idx"}
    indexes = "select schemaname, indexdef from pg_indexes where tablename = 'history' order by 1"
    assert [(schema, text.partition(" USING ")[2]) for schema, text in house.ask(indexes)] == [
        ("snapshots", "btree (dbt_scd_id)"),
        ("working", "btree (dbt_scd_id)"),
    ]
    assert house.same()


def test_a_build_that_fails_leaves_marts_and_history(house: House) -> None:
    before = {r.name: house.rows(f"{r.schema}.{r.name}") for r in RELATIONS}
    house.ask(CHANGE.format("working", 1))
    house.ask("insert into working.history values ('wrong', 'version')")
    house.ask("insert into working.lines select * from working.lines where id = 77")
    house.ask("insert into working.totals values (null, null, 1)")
    made = house.files("working")
    house.ask("create or replace view working.stg_lines as select *, 1 as more from raw.lines")
    house.publisher.prepare()
    assert house.same()
    assert [file for file in made if file[1] in ("lines", "totals", "history")] == [
        file for file in house.files("working") if file[1] in ("lines", "totals", "history")
    ]
    assert before == {r.name: house.rows(f"{r.schema}.{r.name}") for r in RELATIONS}
    assert house.publisher.publish().rows == 0


@pytest.mark.long
@pytest.mark.parametrize(
    "write",
    [
        CHANGE.format("marts", 5),
        "truncate marts.lines",
        "drop table marts.lines cascade; create table marts.lines as select * from raw.lines",
        "alter table marts.totals drop column day cascade",
        "drop schema working cascade",
    ],
)
def test_what_people_did_to_the_marts_is_where_a_build_begins(write: str, house: House) -> None:
    house.ask(write)
    marts = ("marts.lines", "marts.totals")
    before = [house.rows(name) for name in marts]
    house.publisher.prepare()
    assert before == [house.rows(f"working.{name.partition('.')[2]}") for name in marts]
    house.publisher.publish()
    assert before == [house.rows(name) for name in marts]


def test_what_belongs_to_a_table_stays(house: House, postgres: PostgresServer) -> None:
    name = own("bi_reader")
    postgres.execute(f"create role {name}")
    house.ask(f"grant select on marts.lines, marts.lines_named to {name}")
    house.ask(
        f"grant select (name) on marts.totals to {name}; create index mine on marts.lines (name)"
    )
    house.ask("create view public.of_others as select * from marts.lines_named")
    files = house.files()
    house.ask(CHANGE.format("working", 1))
    house.ask("comment on table working.lines is 'Other.'; grant select on working.lines to public")
    house.publisher.publish()
    assert house.files() == files
    assert len(house.rows("public.of_others")) == len(house.rows("working.lines_named"))
    assert house.ask(
        "select obj_description('marts.lines'::regclass),"
        " col_description('marts.lines'::regclass, 3),"
        " obj_description('marts.lines_named'::regclass)"
    ) == [("Other.", "Money.", "Named.")]
    rights = (
        f"select has_table_privilege('{name}', 'marts.lines', 'select'),"
        f" has_table_privilege('{name}', 'marts.lines_named', 'select'),"
        f" has_column_privilege('{name}', 'marts.totals', 'name', 'select')"
    )
    assert house.ask(rights) == [(True, True, True)]
    assert (
        "=r/"
        in house.ask(
            "select cast(relacl as text) from pg_class where relname = 'lines'"
            " and relnamespace = 'marts'::regnamespace"
        )[0][0]
    )


def test_a_view_becomes_a_table_and_a_table_a_view(house: House) -> None:
    named = house.rows("marts.lines_named")
    ((definition,),) = house.ask("select pg_get_viewdef('working.lines_named'::regclass)")
    for before, kind in (("view", "table"), ("table", "view")):
        house.ask(f"drop {before} working.lines_named")
        house.ask(f"create {kind} working.lines_named as {definition}")
        house.publisher.publish()
        assert house.rows("marts.lines_named") == named
        house.publisher.prepare()
        assert house.same()


def test_views_over_a_table_that_is_another_are_made_again(
    house: House, postgres: PostgresServer
) -> None:
    name = own("bi_viewer")
    postgres.execute(f"create role {name}")
    house.ask(
        "create view public.of_others as select id, name from marts.lines;"
        " create view public.over_that as select id from public.of_others;"
        " create view public.of_amounts as select amount from marts.lines;"
        f" grant select on marts.lines, marts.lines_named, public.over_that to {name};"
        f" alter default privileges in schema marts grant insert on tables to {name};"
        " comment on view public.over_that is 'Deep.'"
    )
    # dbt made only this table again, not the view over it.
    house.ask(
        "drop table working.lines cascade; create table working.lines as"
        " select id, name, 1 as more, cast(7 as bigint) as amount from raw.lines"
    )
    assert house.publisher.publish().lost == []
    assert house.rows("public.over_that")[:2] == [(1,), (2,)]
    assert house.rows("public.of_amounts")[0] == (7,)
    assert len(house.rows("marts.lines_named")) == 100
    rights = ", ".join(
        f"has_table_privilege('{name}', '{table}', 'select')"
        for table in ("marts.lines", "public.over_that", "public.of_others")
    )
    assert house.ask(f"select {rights}, obj_description('public.over_that'::regclass)") == [
        (True, True, False, "Deep.")
    ]
    house.publisher.prepare()
    assert house.same()
    house.ask(
        "drop table working.lines cascade; create table working.lines as select name from raw.lines"
    )
    house.ask("create view working.lines_named as select name from working.lines")
    named = f"has_table_privilege('{name}', 'marts.lines_named', 'select')"
    inserts = f"has_table_privilege('{name}', 'marts.lines', 'insert')"
    lost = ["public.of_others", "public.over_that", "public.of_amounts"]
    assert sorted(house.publisher.publish().lost) == sorted(lost)
    assert house.ask(f"select {named}, {inserts}") == [(True, True)]


@pytest.mark.long
@pytest.mark.parametrize(
    "columns",
    [
        "id, name, amount, 1 as more",
        "id, amount",
        "id, name, cast(amount as bigint) as amount",
        "amount, name, id",
        "id, cast(name as varchar(90)) as name, amount",
    ],
)
def test_a_table_with_other_columns(columns: str, house: House) -> None:
    house.ask(
        "drop table working.lines cascade;"
        f" create table working.lines as select {columns} from raw.lines;"
        " create view working.lines_named as select * from working.lines"
    )
    before = house.rows("marts.lines")
    house.publisher.publish()
    assert house.rows("marts.lines") == house.rows("marts.lines_named")
    assert str(house.rows("marts.lines")) != str(before) or "varchar" in columns
    house.publisher.prepare()
    assert house.same()
    house.ask("delete from working.lines where id = 1")
    assert house.publisher.publish().rows == 1


def test_a_table_that_dbt_made_again_is_compared(house: House) -> None:
    files = house.files()
    house.ask(
        "drop table working.lines cascade; create table working.lines as select * from raw.lines"
    )
    house.ask(
        "delete from working.lines where id < 3; update working.lines set name = null where id = 9"
    )
    house.ask("create index another on working.lines (name)")
    assert house.publisher.publish().rows == 3
    assert house.rows("marts.lines") == house.rows("working.lines")
    assert files == [f for f in house.files() if f[1] != "lines_name_idx"] != house.files()


@pytest.mark.long
def test_a_marts_table_can_become_a_view_and_back(house: House) -> None:
    house.ask(
        "drop table working.totals cascade;"
        " create view working.totals as select * from working.lines"
    )
    house.publisher.publish()
    assert house.rows("marts.totals") == house.rows("marts.lines")
    house.publisher.prepare()
    house.ask(
        "drop view working.totals cascade;"
        " create table working.totals as select name, 2 as amount from raw.lines where id = 1"
    )
    house.publisher.publish()
    assert house.rows("marts.totals") == [("n1", 2)]


@pytest.mark.long
def test_who_may_not_create_schemas_is_told(new: House, postgres: PostgresServer) -> None:
    postgres.execute(f"alter database {new.database.database} owner to current_user")
    with pytest.raises(PublishError, match=r"permission denied .*\. .* make roles"):
        new.publisher.prepare()


def test_a_connection_that_is_lost_leaves_all_as_it_was(house: House) -> None:
    before = house.rows("marts.lines"), house.rows("marts.totals")
    house.ask(CHANGE.format("working", 1))
    said: list[str] = []

    def publish() -> None:
        try:
            house.publisher.publish()
        except PublishError as error:
            said.append(str(error))

    with psycopg.connect(house.server.url(house.database.database)) as other:
        # What is published last waits, when the rest is written already.
        other.execute("lock table marts.totals in share mode")
        publishing = threading.Thread(target=publish)
        publishing.start()
        end = (
            "select pg_terminate_backend(pid) from pg_locks where not granted"
            " and relation = 'marts.totals'::regclass"
        )
        while publishing.is_alive() and not other.execute(end).fetchall():
            time.sleep(0.05)
    publishing.join()
    assert len(said) == 1 and said[0].startswith("Nothing was published in "), said
    assert said[0].endswith("Readers see what they saw before.")
    assert before == (house.rows("marts.lines"), house.rows("marts.totals"))
    assert house.publisher.publish().rows == 6 and house.same()


@pytest.mark.parametrize("together", [True, pytest.param(False, marks=pytest.mark.long)])
def test_readers_see_one_state_while_it_is_published(together: bool, house: House) -> None:
    """And would see others if each table were published by itself."""
    publishers = [house.publisher]
    if not together:
        publishers = [Publisher(house.publisher.warehouse, [relation]) for relation in RELATIONS]
    seen: set[tuple[Any, ...]] = set()
    done = threading.Event()

    def read() -> None:
        with psycopg.connect(house.server.url(house.database.database), autocommit=True) as reader:
            while not done.is_set():
                seen.update(reader.execute(AGREE).fetchall())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(1, 20, 2):
            house.ask(CHANGE.format("working", number))
            for publisher in publishers if number % 3 else ():
                publisher.publish()
            house.publisher.prepare()
    finally:
        done.set()
        reader.join()
    assert len(seen) > 4 and all(lines == totals for lines, totals in seen) == together, seen
