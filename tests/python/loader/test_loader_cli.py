"""The loader's command line on real databases: what it prints, and what it leaves behind."""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import duckdb
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from conftest import WAREHOUSES, Ask, Open, require
from loader import PostgresDestination
from loader.destinations.redshift.destination import RedshiftDestination
from support.loader_command import MODULE, Ran, in_process
from support.one_run import own
from tools.servers import MariaDBServer, PostgresServer, Server

# Above the fewest for which digests pay.
LINES = 6_000
SALT = "pepper-and-salt"


@dataclass
class Shop:
    """A source, and how to change it."""

    url: str
    execute: Callable[[str], object]
    digests: bool


@dataclass
class Place:
    """A warehouse, and the command line that loads into it."""

    folder: Path
    environment: dict[str, str]
    ask: Ask
    server: PostgresServer | None

    def load(self, *arguments: str, **environment: str) -> Ran:
        return in_process(
            "--raw-schema", "raw", *arguments, folder=self.folder, **self.environment | environment
        )

    def refuses(self, code: int, *arguments: str, says: str, **environment: str) -> None:
        """The command fails with one sentence, and leaves everything as it was."""
        before = self.data()
        ran = self.load(*arguments, **environment)
        assert (ran.code, ran.out) == (code, ""), ran
        assert len(ran.err.strip().splitlines()) == 1, ran.err
        assert re.search(says, ran.err), ran.err
        assert self.data() == before

    def everything(self) -> Any:
        """Each byte of a DuckDB warehouse; each row version of one in PostgreSQL."""
        if self.server is None:
            return {p.name: p.read_bytes() for p in self.folder.glob("warehouse.duckdb*")}
        return self._rows("xmin::text, ctid::text, *")

    def data(self) -> Any:
        """The rows of the raw tables, without the loader's own."""
        if self.server is None and not (self.folder / "warehouse.duckdb").exists():
            return None
        return {name: rows for name, rows in self._rows("*").items() if name[0] != "_"}

    def text(self) -> str:
        """All that stands in any table, as text."""
        return repr(self._rows("*"))

    def _rows(self, columns: str) -> dict[str, list[tuple[Any, ...]]]:
        tables = "select table_name from information_schema.tables where table_schema = 'raw'"
        with self._asking() as ask:
            return {
                name: sorted(ask(f'select {columns} from raw."{name}"'), key=repr)
                for (name,) in ask(tables)
            }

    @contextlib.contextmanager
    def _asking(self) -> Iterator[Ask]:
        """One connection for many questions, where opening one takes longer than a question."""
        if self.server is not None:
            yield self.ask
            return
        with duckdb.connect(str(self.folder / "warehouse.duckdb")) as connection:
            yield lambda sql: connection.execute(sql).fetchall()


@pytest.fixture(params=["duckdb", "postgres", pytest.param("redshift", marks=pytest.mark.long)])
def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Open, Ask]:
    """Each destination. What Redshift does differently has quick tests of its own."""
    return WAREHOUSES[request.param](request, tmp_path)


@pytest.fixture
def place(warehouse: tuple[Open, Ask], tmp_path: Path) -> Place:
    open_warehouse, ask = warehouse
    destination = open_warehouse()
    if isinstance(destination, PostgresDestination):
        names = {"dbname": "PGDATABASE"}
        given = destination._options
        environment = {names.get(k, f"PG{k.upper()}"): v for k, v in given.items()}
        server = PostgresServer()  # never started: only says that there is one
        return Place(tmp_path, environment | {"TARGET": "postgres"}, ask, server)
    if isinstance(destination, RedshiftDestination):
        given = {f"REDSHIFT_{k.upper()}": str(v) for k, v in destination._options.items()}
        environment = given | {"TARGET": "redshift", "REDSHIFT_SSLMODE": "disable"}
        return Place(tmp_path, environment, ask, PostgresServer())
    return Place(tmp_path, {}, ask, None)


# Sources and warehouses never see each other, so in `make test` not every pair is tried.
QUICK = {("mariadb", "duckdb"), ("sqlite", "duckdb"), ("postgres", "postgres")}
each_pair = pytest.mark.parametrize(
    ("shop", "warehouse"),
    [
        pytest.param(*pair, marks=() if pair in QUICK else pytest.mark.long)
        for pair in product(("mariadb", "postgres", "sqlite"), ("duckdb", "postgres", "redshift"))
    ],
    indirect=True,
)


@pytest.fixture
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """A shop on each kind of source."""
    name = own(f"cli_{abs(hash(request.node.name)) % 10**8}")
    if request.param == "sqlite":
        connection = sqlite3.connect(tmp_path / "shop.sqlite", isolation_level=None)
        made = Shop("sqlite:///shop.sqlite", connection.executescript, False)
    else:
        server: Server = request.getfixturevalue(request.param)
        made = Shop(server.create_database(name), lambda sql: server.execute(sql, name), True)
    made.execute(
        "create table customers (id integer not null primary key, name varchar(40),"
        " phone varchar(20));"
        "insert into customers values (1, 'Ann', '0123'), (2, 'Bob', null), (3, 'Cy', '0123');"
        "create table payments (customer int not null, number varchar(9) not null,"
        " amount decimal(10,2), paid date, primary key (customer, number));"
        "insert into payments values (1, 'a', 10.10, '2026-01-01'), (2, 'b', 0.20, '2026-01-09');"
        "create table contacts (phone varchar(20));"
        "insert into contacts values ('0123'), ('9');"
        "create view rich as select id from customers where id = 1;"
        "create table deliveries (id int not null primary key, sku varchar(9));"
        "insert into deliveries values " + ", ".join(f"({n}, 's{n}')" for n in range(1, LINES + 1))
    )
    yield made
    if request.param == "sqlite":
        connection.close()


@pytest.fixture
def sqlite_shop(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A source for what is the same of all sources: `sqlite:///shop.sqlite`."""
    connection = sqlite3.connect(tmp_path / "shop.sqlite", isolation_level=None)
    connection.executescript(
        "create table customers (id integer primary key, name text, phone varchar(20));"
        "insert into customers values (1, 'Ann', '0123'), (2, 'Bob', null), (3, 'Cy', '0123'),"
        " (4, 'Di', '77');"
        "create table contacts (id integer primary key, phone varchar(20));"
        "insert into contacts values (1, '0123');"
        "create table orders (id integer primary key, customer int, total decimal(10,2));"
        "insert into orders values (1, 1, '10.10'), (2, 2, '0.30');"
        "create table order_notes (note text);"
        "create view open_orders as select * from orders"
    )
    yield connection
    connection.close()


def no_answer(sql: str) -> list[tuple[Any, ...]]:
    """Of a warehouse that is never made."""
    return []


SQLITE = ("--source", "sqlite:///shop.sqlite")


# -- before and after -----------------------------------------------------------------------------


@each_pair
def test_a_plan_says_what_a_load_does_and_writes_nothing(shop: Shop, place: Place) -> None:
    before = place.everything()
    first = place.load("--source", shop.url, "--plan")
    assert first.code == 0, first.err
    assert first.tables["deliveries"][::2] == ["full", "first load"]
    assert "payments: customer " in first.out
    assert "amount decimal(10,2), paid date" in first.out
    assert place.everything() == before

    assert place.load("--source", shop.url).code == 0
    shop.execute("update deliveries set sku = 'new' where id = 4242")
    before = place.everything()
    text = place.load("--source", shop.url, "--plan")
    lines = place.load("--source", shop.url, "--plan", "--log-format", "json").json
    assert place.everything() == before
    plans = {line["table"]: line for line in lines if line["mode"] != "left out"}
    assert [line["table"] for line in lines if line["mode"] == "left out"] == ["rich"]
    assert plans.keys() == text.tables.keys()
    loaded = place.load("--source", shop.url)
    if shop.digests:
        assert plans["deliveries"]["mode"] == "diff"
        assert re.fullmatch(r"1 of 2\d ranges of id changed", plans["deliveries"]["why"])
        assert 1 <= plans["deliveries"]["rows"] <= 300
        # The load reads what the plan said.
        assert loaded.tables["deliveries"][:3] == [str(plans["deliveries"]["rows"]), "0", "1"]
        assert text.tables["deliveries"][:2] == ["diff", str(plans["deliveries"]["rows"])]
    else:
        assert plans["deliveries"]["mode"] == "full"
    assert plans["payments"]["columns"]["amount"] == "decimal(10,2)"
    assert place.load("--source", shop.url, "--verify-only").code == 0


@each_pair
def test_verify_names_what_differs_and_writes_nothing(shop: Shop, place: Place) -> None:
    shop.execute("insert into deliveries values (-5, 'below')")
    assert place.load("--source", shop.url).code == 0
    before = place.everything()
    equal = place.load("--source", shop.url, "--verify-only")
    assert equal.code == 0, equal
    assert {cells[-1] for cells in equal.tables.values()} == {"equal"}
    assert equal.tables["deliveries"][:2] == [f"{LINES + 1:,}"] * 2

    shop.execute("update deliveries set sku = 'new' where id in (7, 4242)")
    shop.execute("delete from deliveries where id = -5")
    shop.execute("insert into deliveries values (99999, 'x')")
    shop.execute("delete from contacts where phone = '9'")
    differs = place.load("--source", shop.url, "--verify-only")
    assert differs.code == 1
    assert differs.err == ""
    ranges = [(-1000, -1), (0, 999), (4000, 4999), (99000, 99999)]
    said = [f"differs where id is from {low} to {high}" for low, high in ranges]
    assert [
        line.removeprefix("deliveries ")
        for line in differs.out.splitlines()
        if line.startswith("deliveries differs")
    ] == said
    assert "contacts differs (it has no integer key to say where)" in differs.out
    assert differs.tables["customers"][-1] == "equal"
    ran = place.load("--source", shop.url, "--verify-only", "--log-format", "json")
    assert ran.code == 1
    verdicts = {line["table"]: line for line in ran.json}
    assert verdicts["deliveries"] == {
        "table": "deliveries",
        "source_rows": LINES + 1,
        "warehouse_rows": LINES + 1,
        "equal": False,
        "differences": said,
    }
    assert verdicts["customers"]["equal"] is True
    assert verdicts["rich"] == {
        "table": "rich",
        "equal": None,
        "differences": [],
        "left_out": "a view: name it in --select to load it",
    }
    assert place.everything() == before

    assert place.load("--source", shop.url).code == 0
    assert place.load("--source", shop.url, "--verify-only").code == 0


@each_pair
def test_verify_compares_the_columns_that_both_have(shop: Shop, place: Place) -> None:
    assert place.load("--source", shop.url).code == 0
    shop.execute("alter table customers add column note varchar(9)")
    shop.execute("alter table payments drop column amount")
    shop.execute("create table fresh (id int)")
    shop.execute("update customers set name = 'Anna' where id = 1")
    ran = place.load("--source", shop.url, "--verify-only", "--log-format", "json")
    assert ran.code == 1
    found = {line["table"]: line["differences"] for line in ran.json}
    assert found == {
        "customers": [
            "has no column note in the warehouse",
            "differs where id is from 0 to 999",
        ],
        "payments": ["has no column amount at the source any more"],
        "fresh": ["is not in the warehouse"],
        "contacts": [],
        "deliveries": [],
        "rich": [],
    }
    assert place.load("--source", shop.url).code == 0
    # The dropped column is still in the warehouse, as null, and that is no difference.
    assert place.load("--source", shop.url, "--verify-only").code == 0


def test_verify_of_values_that_no_longer_fit(mariadb: MariaDBServer, place: Place) -> None:
    name = own(f"cli_unfit_{bool(place.server)}")
    url = mariadb.create_database(name)
    mariadb.execute(
        "create table a (id int primary key, v varchar(9)); insert into a values (1, 'x');"
        "create table b (id int primary key); insert into b values (1)",
        name,
    )
    assert place.load("--source", url).code == 0
    mariadb.execute("update a set v = '1'; alter table a modify v int", name)
    ran = place.load("--source", url, "--verify-only")
    assert ran.code == 1
    assert "a does not fit the source's types: " in ran.out
    # The next table is compared all the same.
    assert ran.tables["b"][-1] == "equal"


# -- the configuration file -----------------------------------------------------------------------


def test_every_key_of_the_configuration(sqlite_shop: sqlite3.Connection, place: Place) -> None:
    target = place.environment.get("TARGET", "duckdb")
    (place.folder / "team.yml").write_text(
        f"source: sqlite:///shop.sqlite\ntarget: {target}\nraw_schema: elsewhere\n"
        "select: ['c*', orders]\nexclude: [contacts]\nexclude_columns: [customers.name]\n"
        "hash_columns: [phone]\nstrict: true\nmax_delete_share: 0.1\nmode: full\n"
        "policy: freeze\ntables: {ORDERS: {mode: append, cursor: id, overlap: 1, policy: evolve}}\n"
    )
    place.environment.pop("TARGET", None)
    given = {**place.environment, "LOAD_HASH_SALT": SALT}

    def load(*arguments: str, code: int) -> Ran:
        command = ("--config", "team.yml", "--log-format", "json", *arguments)
        ran = in_process(*command, folder=place.folder, **given)
        assert ran.code == code, ran
        return ran

    first = {line["table"]: line for line in load(code=0).json[:-1]}
    assert {name: line["mode"] for name, line in first.items()} == {
        "customers": "full",
        "orders": "append",
    }
    columns = place.ask(
        "select column_name from information_schema.columns where table_schema = 'elsewhere'"
        " and table_name = 'customers' and column_name not like '\\_%' escape '\\' order by 1"
    )
    assert columns == [("id",), ("phone",)]
    assert place.ask("select phone from elsewhere.customers where id = 1") == [
        (hmac.new(SALT.encode(), b"0123", "sha256").hexdigest(),)
    ]
    # append, from one below the newest
    sqlite_shop.execute("insert into orders values (3, 3, '1')")
    second = {line["table"]: line for line in load(code=0).json[:-1]}
    assert (second["orders"]["rows_read"], second["orders"]["inserted"]) == (2, 1)
    # max_delete_share
    sqlite_shop.execute("delete from customers where id = 2")
    assert "--max-delete-share 0.1" in load(code=1).err
    load("--max-delete-share", "1", code=0)
    # strict
    sqlite_shop.execute("insert into orders values (4, 1, 'no money')")
    assert "--strict" in load(code=1).err
    sqlite_shop.execute("delete from orders where id = 4")
    # freeze for all but orders
    sqlite_shop.execute("alter table orders add column extra int")
    load(code=0)
    sqlite_shop.execute("alter table customers add column extra int")
    assert "freeze: customers.extra: column added" in load(code=1).err
    # What the command line says goes before it, and before nothing else.
    assert load("--policy", "evolve", code=0).json[-2]["mode"] == "append"
    plans = {line["table"]: line for line in load("--plan", "--mode", "full", code=0).json}
    assert plans["orders"]["mode"] == "full"
    plan = load(
        "--plan", "--select", "contacts", "--exclude", "x", "--policy", "evolve", code=0
    ).json
    assert [line["table"] for line in plan] == ["contacts"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sorce: x", "unknown key sorce; known: source, "),
        ("- source", "must be keys and values"),
        ("source: [", "is not YAML"),
        ("strict: 1", "strict cannot be 1"),
        ("select: orders", "select cannot be 'orders'"),
        ("select: [1]", r"select cannot be \[1\]"),
        ("max_delete_share: true", "max_delete_share cannot be True"),
        ("max_delete_share: 2", "max_delete_share is a number from 0 to 1"),
        ("mode: fast", "fast is not one of auto, full, diff, append"),
        ("policy: melt", "melt is not one of evolve, freeze, ignore-new"),
        ("target: oracle", "oracle is not one of duckdb, postgres, redshift"),
        ("tables: {orders: }", "table orders must be keys and values"),
        ("tables: {orders: {mod: full}}", "table orders has an unknown key mod"),
        ("tables: {orders: {mode: fast}}", "table orders: fast is not one of"),
        ("tables: {orders: {overlap: a}}", "overlap cannot be 'a'"),
        ("tables: {orders: {overlap: -1}}", "overlap cannot be below zero"),
    ],
)
def test_a_mistake_in_the_configuration(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "team.yml").write_text(text)
    place = Place(tmp_path, {}, no_answer, None)
    place.refuses(2, *SQLITE, "--config", "team.yml", says=says)
    assert [path.name for path in tmp_path.iterdir()] == ["team.yml"]


def test_which_configuration_is_used(sqlite_shop: sqlite3.Connection, place: Place) -> None:
    (place.folder / "loader.yml").write_text("select: [orders]")
    (place.folder / "other.yml").write_text("select: [contacts]")

    def plan(*arguments: str, **environment: str) -> set[str]:
        return {*place.load(*SQLITE, "--plan", *arguments, **environment).tables}

    every = {"customers", "contacts", "orders", "order_notes"}
    assert plan() == {"orders"}
    assert plan(LOAD_CONFIG="other.yml") == {"contacts"}
    assert plan("--config", "loader.yml", LOAD_CONFIG="other.yml") == {"orders"}
    assert plan(LOAD_CONFIG="") == plan("--config", "") == every
    (place.folder / "loader.yml").write_text("tables: {ORDERS: {}, OPEN_ORDERS: {}, ordres: {}}")
    warned = place.load(*SQLITE).out
    assert warned.count("warning: ") == 1
    assert "settings for the table ordres, which the source does not have" in warned
    place.refuses(2, "--config", "none.yml", says="none.yml cannot be read: No such file")
    place.refuses(2, LOAD_CONFIG="none.yml", says="none.yml cannot be read: No such file")


# -- what is said ---------------------------------------------------------------------------------


def test_json_holds_the_figures_and_the_errors(
    sqlite_shop: sqlite3.Connection, place: Place
) -> None:
    sqlite_shop.execute("insert into orders values (9, 1, 'no money')")
    ran = place.load(*SQLITE, "--log-format", "json")
    assert ran.code == 3
    *tables, run = ran.json
    (orders,) = [line for line in tables if line["table"] == "orders"]
    assert orders.pop("seconds") >= 0 and orders.pop("bytes") > 0
    assert orders == {
        "table": "orders",
        "mode": "full",
        "inserted": 3,
        "updated": 0,
        "deleted": 0,
        "live": 3,
        "rows_read": 3,
        "issues": [
            {
                "column": "total",
                "reason": "value does not fit decimal(10,2), so the column is loaded as text",
                "count": 1,
                "sample_key": "9",
            }
        ],
    }
    assert run["source"] == "sqlite:///shop.sqlite"
    assert (run["schema_changes"], run["warnings"]) == ([], [])
    assert place.ask("select batch_id from raw._load_runs") == [(run["batch_id"],)]

    for code, arguments, says in (
        (1, ("--strict",), "With --strict nothing was published"),
        (2, ("--select", "nothing"), "--select nothing"),
        (2, ("--mode", "diff", "--plan"), "--mode diff needs"),
        (1, ("--source", "sqlite:///gone.sqlite", "--verify-only"), "no SQLite file"),
    ):
        failed = place.load(*SQLITE, "--log-format", "json", *arguments)
        assert failed.code == code
        assert all(line.keys() >= {"table"} for line in failed.json)
        (error,) = map(json.loads, failed.err.splitlines())
        assert error["level"] == "error" and says in error["message"]


def test_exit_codes(sqlite_shop: sqlite3.Connection, place: Place) -> None:
    assert place.load(*SQLITE).code == 0
    assert place.load().code == 2
    assert place.load(*SQLITE, "--no-such-option").code == 2
    place.refuses(1, "--source", "sqlite:///gone.sqlite", says="gone.sqlite")
    sqlite_shop.execute("update orders set total = 'no money' where id = 1")
    assert place.load(*SQLITE).code == 3
    sqlite_shop.execute("update orders set total = '0.99' where id = 1")
    place_before = place.data()
    place.refuses(
        1,
        *SQLITE,
        "--max-delete-share",
        "1",
        "--policy",
        "freeze",
        PGPORT="1",
        REDSHIFT_PORT="1",
        DUCKDB_PATH="no/warehouse.duckdb",
        says="no of the warehouse does not exist|:1(/.*)? cannot be opened",
    )
    assert place.data() == place_before


@pytest.mark.parametrize("kind", ["mariadb", "postgres"])
def test_secrets_are_never_shown(kind: str, place: Place, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(kind)
    name = own(f"cli_secrets_{abs(hash(request.node.name)) % 10**6}")
    url = server.create_database(name)
    server.execute("create table t (id int primary key); insert into t values (1)", name)
    without = re.sub(r":[^:@/]+@", "@", url)
    (place.folder / "team.yml").write_text(f"source: {url}\nhash_columns: [t.id]")
    known = {"SOURCE_PASSWORD": server.password, "LOAD_HASH_SALT": SALT}
    runs = [
        place.load("--source", url),
        place.load("--source", without, **known),
        place.load("--source", url, "--plan"),
        place.load("--source", url, "--verify-only", "--log-format", "json"),
        place.load("--source", url, "--log-format", "json"),
        place.load("--config", "team.yml", "--full-refresh", **known),
        place.load("--config", "team.yml", "--select", "nothing", **known),
        place.load("--source", url.replace(name, "nowhere")),
        place.load("--source", without, SOURCE_PASSWORD="wrong-secret"),
        place.load("--source", re.sub(r"://.*@", "://u:wrong-secret@", url)),
        place.load("--source", url.replace("://", "x://")),
        place.load("--source", url, PGPASSWORD="wrong-secret"),
        place.load("--source", url + "#"),
        place.load("--source", "//" + url),
    ]
    assert [ran.code for ran in runs[:7]] == [0, 0, 0, 0, 0, 0, 2]
    assert all(ran.code for ran in runs[7:11]) and all(ran.code for ran in runs[12:])
    shown = "".join(ran.out + ran.err for ran in runs) + place.text()
    encoded = url.split(":")[2].rpartition("@")[0]
    for secret in (server.password, encoded, "wrong-secret", SALT):
        assert len(secret) > 6 and secret not in shown
    assert "***" in shown


# -- what is loaded -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "tables"),
    [
        ((), {"customers", "contacts", "orders", "order_notes"}),
        (
            ("--select", "order*"),
            {
                "orders",
                "order_notes",
            },
        ),
        (("--select", "ORDERS, c*"), {"orders", "customers", "contacts"}),
        (("--select", "orders", "--select", "contacts"), {"orders", "contacts"}),
        (("--exclude", "order*"), {"customers", "contacts"}),
        (("--select", "*orders", "--exclude", "orders"), {"open_orders"}),
    ],
)
def test_tables_by_pattern(
    arguments: tuple[str, ...], tables: set[str], sqlite_shop: sqlite3.Connection, tmp_path: Path
) -> None:
    place = Place(tmp_path, {}, no_answer, None)
    assert {*place.load(*SQLITE, "--plan", *arguments).tables} == tables


@each_pair
def test_columns_are_left_out_or_hashed(shop: Shop, place: Place) -> None:
    arguments = ("--source", shop.url, "--exclude-columns", "customers.name")
    hashing = ("--hash-columns", "PHONE")
    place.refuses(2, *arguments, *hashing, says="LOAD_HASH_SALT")
    for salt in (SALT, SALT, "another"):
        assert place.load(*arguments, *hashing, LOAD_HASH_SALT=salt).code == 0
        expected = hmac.new(salt.encode(), b"0123", "sha256").hexdigest()
        assert place.ask("select phone from raw.customers order by id") == [
            (expected,),
            (None,),
            (expected,),
        ]
        # Equal values of two tables still join.
        joined = "select id from raw.customers inner join raw.contacts using (phone) order by 1"
        where = " where contacts._deleted_at is null"
        assert place.ask(joined.replace(" order", where + " order")) == [(1,), (3,)]
    same = place.load(*arguments, *hashing, LOAD_HASH_SALT="another")
    assert [same.tables["customers"][n] for n in (1, 2, 3)] == ["0", "0", "0"]
    columns = "select column_name from information_schema.columns where table_name = 'customers'"
    assert ("name",) not in place.ask(columns)
    assert place.load("--verify-only", *arguments, *hashing, LOAD_HASH_SALT="another").code == 0
    assert "Ann" not in place.text()


def test_patterns_of_columns_must_mean_some(sqlite_shop: sqlite3.Connection, place: Place) -> None:
    (place.folder / "loader.yml").write_text(
        "hash_columns: [customers.phone]\nexclude_columns: [order_notes.note]"
    )
    # Only a part is looked at: the other patterns mean tables that are not selected.
    salt = {"LOAD_HASH_SALT": SALT}
    assert place.load(*SQLITE, "--select", "orders", **salt).code == 0
    for option in ("--hash-columns", "--exclude-columns"):
        for pattern in ("phnoe", "customers.phnoe", "custmers.phone"):
            place.refuses(2, *SQLITE, option, pattern, **salt, says=f"{option} {pattern}: no table")
    # A column that has a new name would not be hashed any more.
    assert place.load(*SQLITE, "--exclude", "order_notes", **salt).code == 0
    sqlite_shop.execute("alter table customers rename column phone to telephone")
    place.refuses(
        2,
        *SQLITE,
        **salt,
        says=r"customers\.phone: no table of the source has such a column \(any more\)",
    )


def test_strict_refresh_and_share(sqlite_shop: sqlite3.Connection, place: Place) -> None:
    sqlite_shop.execute("update orders set total = 'no money' where id = 1")
    place.refuses(1, *SQLITE, "--strict", says=r"orders.total: value .* key is 1")
    assert place.load(*SQLITE).code == 3
    sqlite_shop.execute("delete from customers where id > 1")
    place.refuses(1, *SQLITE, says="3 of 4 rows of customers are gone")
    place.refuses(1, *SQLITE, "--max-delete-share", "0.74", says="allow a larger share")
    assert place.load(*SQLITE, "--max-delete-share", "2").code == 2
    assert place.load(*SQLITE, "--max-delete-share", "0.75").code == 3
    rows = "select id, _deleted_at is null from raw.customers order by id"
    assert place.ask(rows) == [(1, True), (2, False), (3, False), (4, False)]
    ran = place.load(*SQLITE, "--full-refresh", "--select", "customers")
    assert ran.tables["customers"][:4] == ["1", "1", "0", "0"]
    assert place.ask(rows) == [(1, True)]
    # What was not selected was not emptied.
    assert place.ask("select count(*) from raw.orders") == [(2,)]


# -- what cannot be -------------------------------------------------------------------------------


@each_pair
def test_append_asks_for_a_cursor(shop: Shop, place: Place) -> None:
    shop.execute("create table codes (code varchar(9) not null primary key)")
    append = ("--source", shop.url, "--select", "payments,contacts,codes", "--mode", "append")
    plan = place.load(*append, "--plan")
    assert plan.code == 2
    assert {name: cells[0] for name, cells in plan.tables.items()} == {
        "payments": "refused",
        "contacts": "refused",
        "codes": "refused",
    }
    place.refuses(
        2, *append, says=r"codes, contacts, payments: --mode append needs a column that grows"
    )
    (place.folder / "loader.yml").write_text("tables: {payments: {cursor: paid}}")
    payments = (*append, "--exclude", "contacts,codes")
    assert place.load(*payments).code == 0
    # A new payment of a customer that is known already.
    shop.execute("insert into payments values (1, 'c', 5, '2026-02-01')")
    ran = place.load(*payments)
    assert ran.tables["payments"][:2] == ["1", "1"]
    assert place.load("--source", shop.url, "--select", "payments", "--verify-only").code == 0
    place.refuses(
        2, *payments, "--hash-columns", "paid", LOAD_HASH_SALT=SALT, says="go by paid, which is"
    )


@each_pair
def test_diff_names_all_tables_at_once(shop: Shop, place: Place) -> None:
    refused = ["contacts", "customers", *(() if shop.digests else ("deliveries",)), "payments"]
    place.refuses(
        2,
        "--source",
        shop.url,
        "--mode",
        "diff",
        says=rf"load: {', '.join(refused)}: --mode diff needs an integer key",
    )
    plan = place.load("--source", shop.url, "--mode", "diff", "--plan")
    assert plan.code == 2
    assert {name for name, cells in plan.tables.items() if cells[0] == "refused"} == {*refused}
    if shop.digests:
        arguments = ("--source", shop.url, "--mode", "diff", "--select", "deliveries")
        assert place.load(*arguments).code == 0
        assert place.load(*arguments).tables["deliveries"][0] == "0"


@pytest.mark.parametrize("option", ["--hash-columns", "--exclude-columns"])
@each_pair
def test_a_key_that_is_treated_anew(option: str, shop: Shop, place: Place) -> None:
    source = ("--source", shop.url)
    assert place.load(*source).code == 0
    treated = (*source, option, "payments.number")
    salt = {"LOAD_HASH_SALT": SALT}
    place.refuses(2, *treated, says=r"payments\.number .*--full-refresh", **salt)
    place.refuses(2, *treated, "--plan", says=r"payments\.number .*--full-refresh", **salt)
    assert place.load(*treated, "--full-refresh", **salt).code == 0
    # Nothing of the old values is left, and from now on rows are found again.
    assert "'a'" not in repr(place.ask("select * from raw.payments"))
    again = place.load(*treated, **salt)
    assert (again.code, again.tables["payments"][1:4]) == (0, ["0", "0", "0"])
    if option == "--hash-columns":
        place.refuses(2, *treated, says="another salt", LOAD_HASH_SALT="another")
        place.refuses(2, *source, says="not hashed")
        assert place.load(*source, "--full-refresh").code == 0


@pytest.mark.parametrize("place_of_it", ["", "first", "after id"])
def test_columns_that_the_user_may_not_read_any_more(
    place_of_it: str, mariadb: MariaDBServer, place: Place
) -> None:
    name = own(f"cli_grants_{bool(place.server)}")
    url = mariadb.create_database(name)
    user = own("reader")
    reader = f"{user}@127.0.0.1"
    mariadb.execute("create table t (id int primary key, v int)", name)
    mariadb.execute(f"alter table t add column secret int {place_of_it}", name)
    mariadb.execute("insert into t (id, secret, v) values (1, 2, 3)", name)
    mariadb.execute(
        f"create or replace user {reader} identified by 'x'; grant select on {name}.t to {reader}"
    )
    source = ("--source", f"mysql://{user}:x@{url.rpartition('@')[2]}")
    assert place.load(*source).code == 0
    mariadb.execute(
        f"revoke select on {name}.t from {reader}; grant select (id, v) on {name}.t to {reader}"
    )
    place.refuses(1, *source, says=r"t\.secret is gone, or the user may not read it .*SELECT")
    for _ in range(2):
        assert place.load(*source, "--exclude-columns", "t.secret").code == 0


def test_a_key_of_which_the_user_sees_a_part_is_none(mariadb: MariaDBServer, place: Place) -> None:
    user = own("partial")
    name = own(f"cli_part_{bool(place.server)}")
    url = mariadb.create_database(name)
    mariadb.execute(
        f"create table {name}.t (a int, v int, b int, primary key (a, b));"
        f"insert into {name}.t values (1, 1, 1), (1, 2, 2), (2, 1, 1);"
        f"create or replace user {user}@127.0.0.1 identified by 'x';"
        f"grant select (a, v) on {name}.t to {user}@127.0.0.1"
    )
    source = ("--source", f"mysql://{user}:x@{url.rpartition('@')[2]}")
    assert place.load(*source).code == 0
    mariadb.execute(f"update {name}.t set v = 7 where a = 1 and b = 2")
    ran = place.load(*source)
    assert (ran.code, ran.tables["t"][:4]) == (0, ["3", "1", "0", "1"])
    rows = "select a, v from raw.t where _deleted_at is null order by 1, 2"
    assert place.ask(rows) == [(1, 1), (1, 7), (2, 1)]


def test_postgres_names_the_privilege_that_is_gone(postgres: PostgresServer, place: Place) -> None:
    name = own(f"cli_grants_{bool(place.server)}")
    url = postgres.create_database(name)
    user = own(f"reader_{bool(place.server)}".lower())
    postgres.execute(f"drop role if exists {user}; create role {user} login password 'x'")
    postgres.execute(
        "create table t (id int primary key, v int); insert into t values (1, 2)", name
    )
    postgres.execute(f"grant select on t to {user}", name)
    source = ("--source", f"postgresql://{user}:x@{url.rpartition('@')[2]}")
    assert place.load(*source).code == 0
    for revoke in ("revoke select on t from", "grant select (id) on t to"):
        postgres.execute(f"{revoke} {user}", name)
        place.refuses(1, *source, says=rf"permission denied .*grant SELECT on it .*{user}")
    assert place.load(*source, "--exclude-columns", "v").code == 0


def test_an_excluded_file_is_not_read(place: Place) -> None:
    dumps = place.folder / "dumps"
    dumps.mkdir()
    (dumps / "good.csv").write_text("id,phone\n1,0123\n")
    (dumps / "bad.csv").write_text("id,phone\n1,2,3\n")
    source = ("--source", "file:///dumps")
    place.refuses(1, *source, says=r"bad\.csv, line 2")
    assert place.load(*source, "--exclude", "BAD").tables["good"][:2] == ["1", "1"]
    # Of a file that is not read nobody knows the columns, but the table must be there.
    salt = {"LOAD_HASH_SALT": SALT}
    arguments = (*source, "--exclude", "bad", "--hash-columns")
    assert place.load(*arguments, "bad.phone", **salt).code == 0
    for pattern in ("bda.phone", "phnoe", "good.phnoe"):
        place.refuses(2, *arguments, pattern, says=f"{pattern}: no table", **salt)


# -- TLS ------------------------------------------------------------------------------------------


@dataclass
class Certificates:
    """Files: an authority, what it signed for 127.0.0.1, and an authority that signed nothing."""

    folder: Path

    def __getattr__(self, name: str) -> str:
        return str(self.folder / f"{name}.pem")


@pytest.fixture(scope="module")
def certificates() -> Iterator[Certificates]:
    # Outside of pytest's folders, which the server's user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="certificates-"))
    folder.chmod(0o755)
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("ca", "other", "server")}
    names = {name: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in keys}
    for name, issuer in (("ca", "ca"), ("other", "other"), ("server", "ca")):
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        signed = (
            x509.CertificateBuilder()
            .subject_name(names[name])
            .issuer_name(names[issuer])
            .public_key(keys[name].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.now(UTC) - timedelta(days=1))
            .not_valid_after(datetime.now(UTC) + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .add_extension(x509.BasicConstraints(name == issuer, None), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(keys[name].public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[issuer].public_key()),
                critical=False,
            )
            .add_extension(_usage(signs=name == issuer), critical=True)
            .sign(keys[issuer], hashes.SHA256())
        )
        (folder / f"{name}.pem").write_bytes(signed.public_bytes(Encoding.PEM))
    key = folder / "key.pem"
    key.write_bytes(keys["server"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key.chmod(0o600)
    if owner := PostgresServer()._owner():
        os.chown(key, owner.pw_uid, owner.pw_gid)
    yield Certificates(folder)
    shutil.rmtree(folder)


def _usage(*, signs: bool) -> x509.KeyUsage:
    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
        **dict.fromkeys(others, False),
    )


@pytest.fixture(scope="module")
def tls_mariadb(certificates: Certificates) -> Iterator[MariaDBServer]:
    """A server whose user may come in by TLS only."""
    require(MariaDBServer)
    settings = {"ssl-cert": certificates.server, "ssl-key": certificates.key}
    with MariaDBServer(settings=settings) as server:
        server.create_database("shop")
        server.execute("create table t (id int primary key); insert into t values (1)", "shop")
        server.execute(f"alter user {server.user}@127.0.0.1 require ssl")
        yield server


@pytest.fixture(scope="module")
def tls_postgres(certificates: Certificates) -> Iterator[PostgresServer]:
    """A server that everybody may reach by TLS only."""
    require(PostgresServer)
    settings = {
        "ssl": "on",
        "ssl_cert_file": certificates.server,
        "ssl_key_file": certificates.key,
    }
    with PostgresServer(settings=settings) as server:
        access = server.folder / "data" / "pg_hba.conf"
        access.write_text(re.sub(r"^host ", "hostssl ", access.read_text(), flags=re.MULTILINE))
        server.execute("select pg_reload_conf()")
        server.create_database("shop")
        server.execute("create table t (id int primary key)", "shop")
        server.execute("insert into t values (1)", "shop")
        yield server


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    """As `head` does. The load is done, and no signal may end the program: servers go away, too."""
    with sqlite3.connect(tmp_path / "shop.sqlite") as connection:
        connection.execute("create table t (id integer primary key)")
    source = f"sqlite:///{tmp_path / 'shop.sqlite'}"
    place = ("--target", "duckdb", "--duckdb-path", str(tmp_path / "w.duckdb"))
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*MODULE, "--source", source, *place], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")
    with duckdb.connect(str(tmp_path / "w.duckdb"), read_only=True) as connection:
        assert connection.execute("select count(*) from raw_classicmodels.t").fetchall() == [(0,)]


def test_tls_to_a_mysql_source(
    tls_mariadb: MariaDBServer,
    mariadb: MariaDBServer,
    certificates: Certificates,
    tmp_path: Path,
) -> None:
    place = Place(tmp_path, {}, no_answer, None)
    url = tls_mariadb.url("shop")
    for option in ("tls=on", f"ssl_ca={certificates.ca}"):
        ran = place.load("--source", f"{url}?{option}")
        assert (ran.code, ran.tables["t"][0]) == (0, "1"), ran
    wrong = place.load("--source", f"{url}?ssl_ca={certificates.other}")
    none = place.load("--source", mariadb.create_database(own("no_tls")) + "?tls=on")
    name = place.load("--source", f"{url}?ssl_ca={certificates.ca}".replace("127.0.0.1", "0.0.0.0"))
    file = place.load("--source", f"{url}?ssl_ca=nowhere.pem")
    for ran, code, says in (
        (wrong, 1, "cannot be trusted .*certificate.*check ssl_ca"),
        (none, 1, "SSL"),
        (name, 1, "IP address mismatch.*check ssl_ca and the host name"),
        (file, 2, "TLS files .* cannot be used: No such file"),
    ):
        assert (ran.code, ran.out) == (code, ""), ran
        assert len(ran.err.strip().splitlines()) == 1
        assert re.search(says, ran.err), ran.err


def test_tls_to_a_postgres_source_and_warehouse(
    tls_postgres: PostgresServer,
    postgres: PostgresServer,
    certificates: Certificates,
    tmp_path: Path,
) -> None:
    place = Place(tmp_path, {}, no_answer, None)
    url = tls_postgres.url("shop")
    verified = f"sslmode=verify-full&sslrootcert={certificates.ca}"
    ran = place.load("--source", f"{url}?{verified}")
    assert (ran.code, ran.tables["t"][0]) == (0, "1"), ran
    wrong = f"sslmode=verify-full&sslrootcert={certificates.other}"
    no_tls = postgres.create_database(own("no_tls"))
    there = tls_postgres.environment("shop") | {"TARGET": "postgres", "PGSSLMODE": "verify-full"}
    local = ("--source", url + "?sslmode=require")
    ran = place.load(*local, **there, PGSSLROOTCERT=certificates.ca)
    assert ran.code == 0, ran
    assert tls_postgres.execute("select count(*) from raw.t", "shop") == [(1,)]
    for ran, says in (
        (place.load("--source", f"{url}?{wrong}"), "certificate verify failed"),
        (place.load("--source", f"{url}?sslmode=disable"), "no encryption"),
        (place.load("--source", f"{no_tls}?sslmode=require"), "does not support SSL"),
        (
            place.load(*local, **there, PGSSLROOTCERT=certificates.other),
            "certificate verify failed",
        ),
    ):
        assert (ran.code, ran.out) == (1, ""), ran
        assert len(ran.err.strip().splitlines()) == 1, ran.err
        assert re.search(says, ran.err), ran.err


def test_a_remote_host_without_tls_is_warned_of(
    mariadb: MariaDBServer,
    postgres: PostgresServer,
    tls_mariadb: MariaDBServer,
    tls_postgres: PostgresServer,
    tmp_path: Path,
) -> None:
    """0.0.0.0 leads to this machine, but does not say so."""
    place = Place(tmp_path, {}, no_answer, None)

    def warnings(*arguments: str, **environment: str) -> list[str]:
        ran = place.load(*arguments, "--log-format", "json", **environment)
        assert ran.code == 0, ran
        found: list[str] = ran.json[-1]["warnings"]
        return found

    for plain in (mariadb, postgres):
        url = plain.create_database(own("remote"))
        plain.execute("create table t (id int primary key)", own("remote"))
        assert warnings("--source", url, "--full-refresh") == []
        (warning,) = warnings("--source", url.replace("127.0.0.1", "0.0.0.0"))
        assert "to the source at 0.0.0.0 is not encrypted" in warning
        for instead in ("--plan", "--verify-only"):
            ran = place.load("--source", url.replace("127.0.0.1", "0.0.0.0"), instead)
            assert (ran.code, ran.err) == (0, f"warning: {warning}\n")
    there = postgres.environment(own("remote")) | {"TARGET": "postgres"}
    source = ("--source", tls_mariadb.url("shop").replace("127.0.0.1", "0.0.0.0") + "?tls=on")
    assert warnings(*source, **there) == []
    (warning,) = warnings(*source, **there | {"PGHOST": "0.0.0.0"})
    assert "to the warehouse at 0.0.0.0 is not encrypted" in warning
    there = tls_postgres.environment("shop") | {"TARGET": "postgres", "PGHOST": "0.0.0.0"}
    assert warnings(*source, **there) == []
