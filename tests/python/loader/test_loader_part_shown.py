"""A source that shows only a part of itself: all rows are read, or the load fails and says why.

What a limit, a policy, a missing right or a kind of relation hides is never taken for deleted.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from loader import DuckDBDestination, LoadError, LoadResult, Options, load
from loader.cli import main
from loader.ranges import Scope
from loader.schema import Table
from loader.sources import Source, mysql_connection, open_source
from loader.sources.postgres_session import SESSION
from loader.wire import Issues
from support.loader_command import in_process
from support.one_run import own
from support.sources import SOURCES
from tools.servers import MariaDBServer, PostgresServer


def rows(url: str) -> dict[str, list[str]]:
    """Every relation of a source that can be read, views too: its rows, sorted."""
    with closing(open_source(url)) as source:
        return {table.name: lines(source, table) for table in source.tables(lambda names: names)}


def declared(url: str) -> list[tuple[str, str]]:
    with closing(open_source(url)) as source:
        found = source.tables(lambda names: names)
        return [(column.name, column.declared) for table in found for column in table.columns]


def lines(source: Source, table: Table) -> list[str]:
    found = [b.data.decode() for b in source.read(table, Scope(), Issues(table))]
    assert source.count(table, Scope()) == "".join(found).count("\n")
    return sorted("".join(found).splitlines())


class Loads:
    """Loads into one DuckDB warehouse."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "warehouse.duckdb"

    def __call__(self, url: str, **options: Any) -> LoadResult:
        return load(url, DuckDBDestination("raw", self.path), Options(**options))

    def refused(self, url: str, **options: Any) -> str:
        with pytest.raises(LoadError) as caught:
            self(url, **options)
        said = str(caught.value)
        assert said.endswith(".") and "\n" not in said
        return said


@pytest.fixture
def loaded(tmp_path: Path) -> Loads:
    return Loads(tmp_path)


def read(result: LoadResult) -> dict[str, int]:
    return {entry.table.name: entry.rows_read for entry in result.tables}


# -- settings of a session ------------------------------------------------------------------------

# What a server or its init_connect may have set, and what each would do to the shop below.
MYSQL_SETTINGS = {
    "sql_select_limit = 2": "cuts every result",
    "max_recursive_iterations = 10": "cuts the numbers",
    "group_concat_max_len = 4": "cuts lines",
    "system_versioning_asof = '2001-01-01'": "shows no price",
    "sql_auto_is_null = 1": "finds rows that were just inserted",
    "max_join_size = 1, sql_big_selects = 0": "an error",
    "max_statement_time = 0.1": "an error",
    "sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH'": "pads codes",
    "div_precision_increment = 0": "rounds shares",
    "time_zone = '+05:00'": "moves timestamps",
    "character_set_results = latin1, character_set_connection = latin1": "bends text",
    "lc_time_names = 'de_DE'": "names a day in German",
    "default_week_format = 3": "counts weeks otherwise",
}


@pytest.fixture(scope="module")
def mysql_shop(mariadb: MariaDBServer) -> str:
    url = mariadb.create_database(own("settings"))
    mariadb.execute(
        "create table codes (id int primary key, code char(9), at timestamp(6), v int);"
        "insert into codes (id, code, at, v) values (1, 'a', '2026-01-01 12:00:00', 3),"
        " (2, 'ß€', '2026-07-01', 5), (3, '東', '2026-07-02', 7);"
        "create table prices (id int primary key, price decimal(8,2)) with system versioning;"
        "insert into prices values (1, 9.90), (2, 5.00), (3, 1); update prices set price = 10.90"
        " where id = 1; delete from prices where id = 3;"
        "create view slow as select sleep(0.15) as slept;"
        "create view pairs as select a.id from codes as a cross join codes as b;"
        "create view days as select dayname(at) as day, week(at) as week, v / 7 as share"
        " from codes;"
        "create view numbers as with recursive n as"
        " (select 1 as i union all select i + 1 from n where i < 1500) select i from n",
        own("settings"),
    )
    return url


def test_no_setting_of_a_mysql_session_changes_what_is_read(
    mysql_shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = rows(mysql_shop)
    assert {name: len(found) for name, found in expected.items()} == {
        "codes": 3,
        "prices": 2,
        "slow": 1,
        "pairs": 9,
        "days": 3,
        "numbers": 1500,
    }
    assert expected["prices"] == ["1\t10.90", "2\t5.00"]
    connect = mysql_connection.connect

    def connected(url: Any) -> Any:
        connection = connect(url)
        with connection.cursor() as cursor:
            cursor.execute(f"set session {', '.join(MYSQL_SETTINGS)}")
        return connection

    monkeypatch.setattr("loader.sources.mysql.connect", connected)
    assert rows(mysql_shop) == expected
    with closing(open_source(mysql_shop)) as source:
        names = ", ".join(map(repr, mysql_connection.SESSION))
        settings: Any = source.rows(  # type: ignore[attr-defined]
            f"show session variables where variable_name in ({names})"
        )
    assert len(settings) > 15
    assert dict(settings).items() <= mysql_connection.SESSION.items()


def test_a_setting_that_stays_is_named(mysql_shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The server cuts this value to its own maximum without an error.
    monkeypatch.setitem(mysql_connection.SESSION, "group_concat_max_len", "4294967295")
    with pytest.raises(LoadError, match="leaves the session's group_concat_max_len at 1073741824"):
        open_source(mysql_shop)


@contextmanager
def administrator(server: PostgresServer, database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(
        server.url(database), user=server.administrator, autocommit=True
    ) as connection:
        yield connection


class Role:
    """A PostgreSQL database, and a role that may read all of it."""

    def __init__(self, server: PostgresServer, name: str, sql: str) -> None:
        self.server, self.name, self.user = server, own(name), own(f"{name}_reader")
        url = server.create_database(self.name)
        self.url = f"postgresql://{self.user}:x@{url.rpartition('@')[2]}"
        server.execute(f"drop role if exists {self.user}")
        server.execute(f"create role {self.user} login password 'x'")
        self.execute(sql)
        self.execute(f"grant select on all tables in schema public to {self.user}")

    def execute(self, sql: str) -> None:
        self.server.execute(sql, self.name)

    def has(self, *settings: str) -> None:
        """Give the role these settings, and no others."""
        self.server.execute(f"alter role {self.user} reset all")
        for setting in settings:
            self.server.execute(f"alter role {self.user} set {setting}")


POSTGRES_SETTINGS = {
    "statement_timeout = '100ms'": "ends the slow view",
    "idle_in_transaction_session_timeout = '100ms'": "ends the connection",
    "lock_timeout = '1ms'": "an error where a table is locked for a moment",
    "gin_fuzzy_search_limit = 1": "cuts what an index finds",
    "datestyle = 'SQL, DMY'": "spells days otherwise",
    "intervalstyle = 'sql_standard'": "spells intervals otherwise",
    "timezone = 'Asia/Tokyo'": "moves instants",
    "bytea_output = 'escape'": "spells bytes otherwise",
    "extra_float_digits = 0": "rounds floats",
    "search_path = 'other'": "the function counts other orders",
    "quote_all_identifiers = on": "quotes the names of types",
    "standard_conforming_strings = off": "the function's text means something else",
    "xmlbinary = 'hex'": "spells bytes in XML otherwise",
    "transform_null_equals = on": "the function finds nulls",
    "client_encoding = 'LATIN1'": "bends text",
    "default_transaction_isolation = 'read committed'": "no snapshot",
    "row_security = on": "hides rows",
}


def test_no_setting_of_a_postgres_role_changes_what_is_read(postgres: PostgresServer) -> None:
    shop = Role(
        postgres,
        "role_settings",
        "create schema other; create table other.orders (id int);"
        "create type mood as enum ('glad', 'sad');"
        "create table orders (id int primary key, day date, at timestamptz, took interval,"
        " data bytea, weight float4, mood mood, note text, class regclass);"
        "insert into orders select n, '2026-01-01', '2026-07-01 12:00+02', '1 day 2:03', '\\x00ff',"
        " 0.1, 'sad', case when n > 1 then E'back\\\\slash €' end, 'orders'"
        " from generate_series(1, 9) as n;"
        "create table tagged (id int primary key, tags int []);"
        "insert into tagged select n, array[1, n % 7] from generate_series(1, 3000) as n;"
        "create index on tagged using gin (tags); analyze tagged;"
        "create function many() returns bigint stable language sql as"
        " $$select count(*) + (select count(*) from orders where note = null)"
        " + (select sum(position('\\' in note)) from orders) from orders$$;"
        "create view counted as select many() as n;"
        "create view slow as select id, pg_sleep(0.2)::text as slept from orders where id = 1;"
        "create view hits as select id from tagged where tags @> array[1, 3];"
        "create view xml as select xmlelement(name a, data)::text as x from orders",
    )
    expected = rows(shop.url)
    assert {name: len(found) for name, found in expected.items()} == {
        "orders": 9,
        "tagged": 3000,
        "counted": 1,
        "slow": 1,
        "hits": 429,
        "xml": 9,
    }
    assert expected["counted"] == [str(9 + 8 * 5)]
    types = declared(shop.url)
    # Without sequential scans even a small table's index is used.
    shop.has(*POSTGRES_SETTINGS, "enable_seqscan = off")
    assert rows(shop.url) == expected
    assert declared(shop.url) == types
    with closing(open_source(shop.url)) as source:
        time.sleep(0.2)  # longer than the role may idle
        settings = source._connection.execute(  # type: ignore[attr-defined]
            "select lower(name), setting from pg_settings where lower(name) = any(%s)",
            [list(SESSION)],
        ).fetchall()
    assert len(settings) > 10
    assert dict(settings).items() <= SESSION.items()


def test_settings_of_a_role_that_cannot_be_undone_are_named(
    postgres: PostgresServer, loaded: Loads
) -> None:
    shop = Role(
        postgres,
        "role_refused",
        "create table orders (id int primary key); insert into orders values (1);"
        "create table bills (id int primary key, total money); insert into bills values (1, 7);"
        "create view months as select to_char(current_date, 'TMMonth') as month",
    )
    shop.has("zero_damaged_pages = on")  # such a page would be read as an empty one
    assert "zero_damaged_pages" in loaded.refused(shop.url)
    # Two decimals in one country are none in another.
    shop.has("lc_monetary = 'POSIX'")
    assert "has its own lc_monetary" in loaded.refused(shop.url)
    assert read(loaded(shop.url, exclude=["bills"])) == {"orders": 1}
    shop.has("lc_time = 'POSIX'")
    assert read(loaded(shop.url)) == {"bills": 1, "orders": 1}
    assert "has its own lc_time" in loaded.refused(shop.url, select=["months"])


# -- policies and rights --------------------------------------------------------------------------


def test_rows_that_a_policy_hides_are_not_deleted(postgres: PostgresServer, loaded: Loads) -> None:
    shop = Role(
        postgres,
        "policies",
        "create table orders (id int primary key, tenant text);"
        "insert into orders select n, 'ab' from generate_series(1, 9) as n;"
        "create table log (line text); insert into log values ('x');"
        "create view tenants as select tenant from orders",
    )
    everything = ["orders", "log", "tenants"]
    assert read(loaded(shop.url, select=everything)) == {"orders": 9, "log": 1, "tenants": 9}
    for table in ("orders", "log"):
        shop.execute(f"alter table {table} enable row level security")
    said = loaded.refused(shop.url)
    assert f"policies hide rows of log, orders from {shop.user}" in said
    assert f"alter role {shop.user} bypassrls" in said
    with closing(open_source(shop.url)) as source:
        assert source.tables(lambda _: []) != []  # what nobody wants may be hidden
    # The view's owner is exempt from his own policies, until they are forced.
    assert read(loaded(shop.url, select=["tenants"])) == {"tenants": 9}
    shop.execute("alter table orders force row level security")
    assert "let the user" in loaded.refused(shop.url, select=["tenants"])
    postgres.execute(f"alter role {shop.user} bypassrls")
    assert read(loaded(shop.url)) == {"orders": 9, "log": 1}


def test_a_table_that_mysql_does_not_show_any_more_is_not_dropped(
    mariadb: MariaDBServer, loaded: Loads
) -> None:
    name, user = own("hidden_table"), f"{own('sees_less')}@127.0.0.1"
    url = mariadb.create_database(name)
    mariadb.execute(
        "create table orders (id int primary key); insert into orders values (1);"
        "create table payments (id int primary key); insert into payments values (1), (2)",
        name,
    )
    mariadb.execute(
        f"create or replace user {user} identified by 'x';"
        f"grant select on {name}.orders to {user}; grant select on {name}.payments to {user}"
    )
    source = f"mysql://{user.partition('@')[0]}:x@{url.rpartition('@')[2]}"
    assert read(loaded(source)) == {"orders": 1, "payments": 2}
    mariadb.execute(f"revoke select on {name}.payments from {user}")
    said = loaded.refused(source)
    assert "payments was loaded before" in said and "grant SELECT on it" in said
    assert loaded(source, exclude=["payments"]).schema_changes == []
    # Who may read the whole database sees that it is gone.
    mariadb.execute(f"grant select on {name}.* to {user}; drop table {name}.payments")
    changes = loaded(source).schema_changes
    assert "payments: table dropped" in map(str, changes)


# -- the source's own count -----------------------------------------------------------------------

UNSTEADY = {
    "mysql": "select id from many where rand() < 0.5",
    "postgres": "select id from many where random() < 0.5",
    "sqlite": "select id from many where random() % 2 = 0",
}


@pytest.mark.parametrize("kind", UNSTEADY)
def test_the_rows_are_as_many_as_the_source_counts(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, loaded: Loads
) -> None:
    shop: Any = SOURCES[kind](request, tmp_path)
    shop.execute("create table many (id int primary key)")
    shop.execute("insert into many values " + ", ".join(f"({n})" for n in range(4_000)))
    assert read(loaded(shop.url)) == {"many": 4_000}
    # A view that is different each time stands for whatever does not return what it counts.
    shop.execute(f"create view unsteady as {UNSTEADY[kind]}")
    said = loaded.refused(shop.url, select=["unsteady"])
    assert said.startswith("The source table unsteady returned ") and "its count(*) is" in said


def test_a_damaged_index_does_not_delete_rows(tmp_path: Path, loaded: Loads) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.sqlite", isolation_level=None)) as shop:
        shop.execute("create table orders (id integer primary key, status text, note text)")
        shop.execute("create index by_status on orders (status)")
        shop.execute("insert into orders values (1, 'a', ''), (2, 'b', '')")
        url = f"sqlite:///{tmp_path / 'shop.sqlite'}"
        loaded(url)
        # As a program does that keeps the index closed while it writes.
        ((root, sql),) = shop.execute("select rootpage, sql from sqlite_master where type='index'")
        shop.execute("pragma writable_schema = on")
        shop.execute("delete from sqlite_master where type = 'index'")
        shop.execute("pragma writable_schema = reset")
        shop.execute("insert into orders values (3, 'c', '')")
        shop.execute("pragma writable_schema = on")
        shop.execute(
            "insert into sqlite_master values ('index', 'by_status', 'orders', ?, ?)", (root, sql)
        )
    assert "orders returned 3 rows, but its count(*) is 2" in loaded.refused(url)


# -- kinds of relations ---------------------------------------------------------------------------


@pytest.fixture
def mysql_kinds(mariadb: MariaDBServer) -> Iterator[tuple[str, Callable[[str], Any]]]:
    name, ghost = own("kinds"), f"{own('ghost')}@127.0.0.1"
    url = mariadb.create_database(name)
    mariadb.execute(
        "create table plain (id int primary key); insert into plain values (1), (2);"
        "create table prices (id int primary key, price int) with system versioning;"
        "insert into prices values (1, 1), (2, 2); update prices set price = 3 where id = 1;"
        "create table periods (id int primary key, v int, unique (v),"
        " since timestamp(6) generated always as row start,"
        " until timestamp(6) generated always as row end, period for system_time (since, until))"
        " with system versioning; insert into periods (id, v) values (1, 1);"
        "update periods set v = 2;"
        "create table parts (id int primary key) partition by hash (id) partitions 3;"
        "insert into parts values (1), (2), (3), (4);"
        "create sequence numbers; create view sums as select sum(id) as n from plain;"
        "create table gone (id int); create view broken as select * from gone; drop table gone",
        name,
    )
    mariadb.execute(
        f"create or replace user {ghost}; grant all on {name}.* to {ghost};"
        f"create definer = {ghost} view {name}.orphaned as select * from {name}.plain;"
        f"drop user {ghost}"
    )
    yield url, lambda sql: mariadb.execute(sql, name)


def test_kinds_of_relations_in_mariadb(
    mysql_kinds: tuple[str, Callable[[str], Any]], loaded: Loads
) -> None:
    url, execute = mysql_kinds
    result = loaded(url)
    assert read(result) == {"parts": 4, "periods": 1, "plain": 2, "prices": 2}
    assert {e.table.name: e.table.key for e in result.tables}["periods"] == ("id",)
    assert {name: why.partition(":")[0] for name, why in result.left_out.items()} == {
        "broken": "a view",
        "numbers": "a sequence, which has no rows of data",
        "orphaned": "a view",
        "sums": "a view",
    }
    # By pattern, what cannot be read is left out; by name, the load says why it cannot be read.
    result = loaded(url, select=["*"])
    assert read(result) == {"parts": 4, "periods": 1, "plain": 2, "prices": 2, "sums": 1}
    assert set(result.left_out) == {"broken", "numbers", "orphaned"}
    assert "ghost" in result.left_out["orphaned"]
    assert "a sequence" in loaded.refused(url, select=["numbers"])
    assert "invalid table" in loaded.refused(url, select=["Broken", "plain"])
    # To become versioned is not to be dropped.
    execute("alter table plain add system versioning; insert into plain values (3)")
    execute("delete from plain where id = 1")
    result = loaded(url)
    assert result.schema_changes == []
    changes = {e.table.name: e.changes for e in result.tables}["plain"]
    assert (changes.inserted, changes.deleted, changes.live) == (1, 1, 2)
    # A table that cannot be read ends the load, which says how to go on.
    execute("create table merged (id int) engine = merge union = (plain)")
    assert "leave it out with --exclude" in loaded.refused(url)
    assert read(loaded(url, exclude=["merged"])) == read(result)


def test_kinds_of_relations_in_postgres(postgres: PostgresServer, loaded: Loads) -> None:
    name = own("pg_kinds")
    url = postgres.create_database(name)
    postgres.execute(
        "create table plain (id serial primary key); insert into plain values (1), (2);"
        "create table by_year (id int, year int) partition by list (year);"
        "create table by_year_26 partition of by_year for values in (2026);"
        "insert into by_year values (1, 2026), (2, 2026);"
        "create schema other; create table other.all_years (id int) partition by list (id);"
        "create table year_27 partition of other.all_years for values in (27);"
        "insert into year_27 values (27);"
        "create table orders (id int primary key, status text);"
        "create table orders_archive (archived date) inherits (orders);"
        "create table other.orders_abroad () inherits (orders);"
        "insert into orders values (1, 'a'), (2, 'b');"
        "insert into orders_archive values (2, 'c'), (3, 'd');"
        "insert into other.orders_abroad values (9, 'z');"
        "create sequence numbers; create view sums as select sum(id) as n from plain;"
        "create materialized view seldom as select * from plain with no data;"
        "create table nothing (); insert into nothing default values",
        name,
    )
    with administrator(postgres, name) as connection:
        connection.execute("create foreign data wrapper no_wrapper")
        connection.execute("create server afar foreign data wrapper no_wrapper")
        connection.execute("create foreign table abroad (id int) server afar")
    result = loaded(url)
    expected = {"by_year": 2, "orders": 2, "orders_archive": 2, "plain": 2, "year_27": 1}
    assert read(result) == expected
    assert {e.table.name: e.table.key for e in result.tables}["orders"] == ("id",)
    assert {name: why.partition(":")[0] for name, why in result.left_out.items()} == {
        "abroad": "a foreign table",
        "nothing": "a table without columns",
        "numbers": "a sequence, which has no rows of data",
        "other.orders_abroad": "a table of another schema that inherits from orders",
        "seldom": "a materialized view",
        "sums": "a view",
    }
    (warning,) = result.warnings
    assert "inherit from orders" in warning and "orders_archive" in warning
    # The same key in both: no row has the other's values, and nothing is written twice.
    again = loaded(url)
    assert [(e.changes.inserted, e.changes.updated) for e in again.tables] == [(0, 0)] * 5
    postgres.execute("delete from orders_archive where id = 2", name)
    changes = {e.table.name: e.changes.deleted for e in loaded(url).tables}
    assert changes == {**dict.fromkeys(expected, 0), "orders_archive": 1}
    for relation, says in (
        ("abroad", "no_wrapper"),
        ("seldom", "has not been populated"),
        ("numbers", "a sequence"),
        ("nothing", "a table without columns"),
    ):
        assert says in loaded.refused(url, select=[relation]), relation
    # Its rows are not gone.
    postgres.execute(
        "alter table plain add year int not null default 27; alter table by_year attach partition"
        " plain for values in (27)",
        name,
    )
    said = loaded.refused(url)
    assert "plain was loaded before" in said and "a partition of by_year now" in said


def test_a_table_that_became_a_view_is_not_equal(tmp_path: Path) -> None:
    """What a view shows of it is not read, and nothing says that the rows are still right."""
    with closing(sqlite3.connect(tmp_path / "shop.sqlite", isolation_level=None)) as shop:
        shop.executescript("create table t (id integer primary key); insert into t values (1), (2)")
        arguments = ("--source", "sqlite:///shop.sqlite", "--duckdb-path", "w.duckdb")
        assert in_process(*arguments, folder=tmp_path).code == 0
        shop.executescript("alter table t rename to u; create view t as select * from u limit 1")
        loaded = in_process(*arguments, folder=tmp_path)
    assert loaded.code == 0 and "left out: t (a view: name it in --select" in loaded.out
    verified = in_process(*arguments, "--verify-only", folder=tmp_path)
    assert verified.code == 1 and verified.tables["t"] == ["0", "2", "differs"]
    assert "t is not read any more, because in the source it is a view" in verified.out
    assert "left out: t (a view: name it in --select" in verified.out


def test_a_virtual_table_without_its_module_is_left_out(
    tmp_path: Path, loaded: Loads, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.sqlite", isolation_level=None)) as shop:
        shop.executescript(
            "create table orders (id integer primary key); insert into orders values (1);"
            "create virtual table notes using fts5 (body); insert into notes values ('x');"
            "pragma writable_schema = on; insert into sqlite_master values ('table', 'places',"
            " 'places', 0, 'CREATE VIRTUAL TABLE places USING nobody_has_this()');"
        )
    url = f"sqlite:///{tmp_path / 'shop.sqlite'}"
    why = "a virtual table that cannot be read: no such module: nobody_has_this"
    result = loaded(url)
    assert read(result)["orders"] == read(result)["notes"] == 1
    assert result.left_out == {"places": why}
    assert loaded(url, exclude=["places"]).left_out == {}
    assert loaded(url, select=["orders"]).left_out == {}
    assert loaded(url, select=["orders", "pl*"]).left_out == {"places": why}
    assert why in loaded.refused(url, select=["Places"])
    place = ("--source", url, "--duckdb-path", str(loaded.path), "--raw-schema", "raw")
    assert main([*place, "--plan"]) == 0
    assert f"\nleft out: places ({why})\n" in capsys.readouterr().out
    assert main(place) == 0
    assert f"\nleft out: places ({why})\n" in capsys.readouterr().out
    assert main([*place, "--log-format", "json"]) == 0
    assert f'"left_out": {{"places": "{why}"}}' in capsys.readouterr().out


def test_a_source_that_shows_nothing_says_what_it_has(tmp_path: Path, loaded: Loads) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.sqlite")) as shop:
        shop.execute("create view numbers as select 1 as n")
    said = loaded.refused(f"sqlite:///{tmp_path / 'shop.sqlite'}")
    assert "has no tables to load" in said and "It has numbers, a view" in said
