"""Who may see what: `make roles` and the grants of a build, under users who are not superusers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from conftest import require
from loader import LoadError, PostgresDestination
from pipeline import roles
from sample_shop.shop import create_shop
from support.clone import REPO
from support.dialect import refusals
from support.one_run import own
from support.project import RAW_SCHEMA, DuckDBWarehouse, PostgresWarehouse, Project, ShimWarehouse
from support.shim import Shim
from tools.servers import HOST, PostgresServer

LOADER, TRANSFORMER = "classicmodels_loader", "classicmodels_transformer"
REPORTER, PRIVILEGED = "classicmodels_reporter", "classicmodels_privileged_reporter"
# People, by the role that they have. Who makes things makes them as the role.
USERS = {LOADER: "lou", TRANSFORMER: "tom", REPORTER: "rea", PRIVILEGED: "pat"}
ONLY_MODELS = ("--exclude-resource-type", "test", "unit_test")
# A password each, as a person would choose it for them.
SECRET = "their own"


class Guarded(PostgresWarehouse):
    """A database in which the loader and dbt are users without rights but those of their roles."""

    @classmethod
    def over(cls, warehouse: PostgresWarehouse) -> Guarded:
        """The same database, under these users."""
        guarded = cls.__new__(cls)
        guarded.server, guarded.database = warehouse.server, warehouse.database
        return guarded

    def user(self, role: str) -> dict[str, str]:
        """The libpq variables of the user who has a role."""
        return self.server.environment(self.database) | {
            "PGUSER": USERS[role],
            "PGPASSWORD": SECRET,
        }

    @property
    def variables(self) -> dict[str, str]:
        return self.user(TRANSFORMER)

    def destination(self) -> PostgresDestination:
        return PostgresDestination(
            RAW_SCHEMA,
            host=HOST,
            port=str(self.server.port),
            user=USERS[LOADER],
            password=SECRET,
            dbname=self.database,
        )

    def connect(self, role: str) -> psycopg.Connection:
        """A connection of the user who has a role."""
        return psycopg.connect(
            host=HOST,
            port=self.server.port,
            user=USERS[role],
            password=SECRET,
            dbname=self.database,
            autocommit=True,
        )

    def ask(self, role: str, sql: str) -> list[tuple[Any, ...]]:
        """The rows that the user who has a role is given."""
        with self.connect(role) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """As the server's administrator, who sees all."""
        with psycopg.connect(
            host=HOST,
            port=self.server.port,
            user=self.server.administrator,
            password=self.server.password,
            dbname=self.database,
        ) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []


@dataclass(frozen=True)
class House:
    """A project, its shop, and the warehouse."""

    project: Project
    shop: str
    warehouse: Guarded

    def build(self, *arguments: str) -> None:
        """Run dbt's models as the transformer; they have to be green."""
        outcome = self.project.dbt(self.warehouse, "build", *arguments, *ONLY_MODELS)
        assert outcome.green, str(outcome)

    def columns(self, personal: bool) -> dict[str, list[str]]:
        """By mart: the columns that are, or are not, personal."""
        nodes = self.project.manifest(self.warehouse)["nodes"].values()
        return {
            node["name"]: [
                name
                for name, column in node["columns"].items()
                if column["config"]["meta"]["personal_data"] is personal
            ]
            for node in nodes
            if node["resource_type"] == "model" and node["access"] == "public"
        }


def make_roles(project: Project, environment: dict[str, str], *arguments: str) -> str:
    """What the command prints; it has to end well."""
    done = run_roles(project, environment, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_roles(
    project: Project, environment: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "scripts/roles.py", *arguments],
        cwd=project.folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of its own, for roles are the whole server's; it notes each statement."""
    require(PostgresServer)
    with PostgresServer(settings={"log_statement": "all"}) as server:
        server.execute(f"create role admin login createrole password '{SECRET}'")
        yield server


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


def administrator(warehouse: PostgresWarehouse) -> dict[str, str]:
    """The environment of an administrator who is no superuser."""
    warehouse.server.execute(f"alter database {warehouse.database} owner to admin")
    return warehouse.server.environment(warehouse.database) | {
        "TARGET": "postgres",
        "PGUSER": "admin",
        "PGPASSWORD": SECRET,
    }


def let_in(server: PostgresServer) -> None:
    """Make the users, as docs/operations.md says."""
    for role, user in USERS.items():
        server.execute(f"create role {user} login in role {role} password '{SECRET}'")
        if role in (LOADER, TRANSFORMER):
            server.execute(f"alter role {user} set role to {role}")


@pytest.fixture(scope="module")
def house(project: Project, server: PostgresServer) -> House:
    """A warehouse whose roles were made by an administrator, loaded and built by two users."""
    shop = server.create_database("shop")
    create_shop(shop)
    warehouse = Guarded(server, "guarded")
    make_roles(project, administrator(warehouse), "--apply")
    let_in(server)
    warehouse.load(shop)
    found = House(project, shop, warehouse)
    outcome = project.dbt(warehouse, "build", "--exclude-resource-type", "unit_test")
    assert outcome.green, outcome
    return found


# -- the statements -------------------------------------------------------------------------------

STATE = """
    select 'role', rolname, rolcanlogin, rolsuper, rolpassword is null, null from pg_authid
    union all
    select 'member', roleid::regrole::name, admin_option, null, null, member::regrole::text
    from pg_auth_members
    union all
    select 'schema', nspname, null, null, null, concat(nspowner::regrole, nspacl) from pg_namespace
    union all
    select 'table', relname, null, null, null, concat(relowner::regrole, relacl) from pg_class
    union all
    select 'column', attname, null, null, null, concat(attrelid::regclass, attacl)
    from pg_attribute where attacl is not null
    union all
    select 'default', defaclnamespace::regnamespace::name, null, null, null,
        concat(defaclrole::regrole, defaclacl)
    from pg_default_acl
    union all
    select 'database', datname, null, null, null, concat(datdba::regrole, datacl) from pg_database
    union all
    select 'function', proname, prosecdef, null, null, concat(proowner::regrole, proacl, prosrc)
    from pg_proc where pronamespace = 'raw_classicmodels'::regnamespace
    order by 1, 2, 6
"""


def test_a_second_time_changes_nothing(house: House) -> None:
    before = house.warehouse.query(STATE)
    said = make_roles(house.project, administrator(house.warehouse), "--apply")
    assert said.startswith("postgres 127.0.0.1:") and REPORTER in said
    assert house.warehouse.query(STATE) == before
    # Printing does not either.
    printed = make_roles(house.project, administrator(house.warehouse))
    assert "create role" not in printed and "owner to" in printed
    assert house.warehouse.query(STATE) == before


@pytest.mark.long
def test_what_is_printed_can_be_run(house: House, server: PostgresServer) -> None:
    warehouse = Guarded(server, "printed")
    printed = make_roles(house.project, administrator(warehouse))
    assert not warehouse.query("select 1 from pg_namespace where nspname = 'marts'")
    done = subprocess.run(
        [server.find_binaries()["psql"], "-X", "-v", "ON_ERROR_STOP=1"],
        env=administrator(warehouse),
        input=printed,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert warehouse.query("select nspowner::regrole::text from pg_namespace where nspname='marts'")


def test_no_role_can_log_in_or_has_a_password(house: House) -> None:
    found = house.warehouse.query(
        "select rolname, rolcanlogin or rolsuper or rolcreaterole or rolcreatedb,"
        f" rolpassword from pg_authid where rolname in {tuple(USERS)}"
    )
    assert sorted(found) == sorted((role, False, None) for role in USERS)


def test_the_administrator_is_none_of_them_in_the_end(house: House) -> None:
    assert not house.warehouse.query(
        "select 1 from pg_auth_members where member = 'admin'::regrole"
    )


@pytest.mark.long
def test_a_user_who_may_not_is_told(house: House, server: PostgresServer) -> None:
    warehouse = Guarded(server, "refusing")
    done = run_roles(house.project, warehouse.user(REPORTER) | {"TARGET": "postgres"}, "--apply")
    assert done.returncode == 1
    assert re.fullmatch(
        r"make roles: postgres \S+/refusing refused `grant .*`: .*\. Nothing was changed: run it as"
        r" an administrator, .*\n",
        done.stderr,
    ), done.stderr
    done = run_roles(
        house.project, warehouse.user(REPORTER) | {"TARGET": "postgres", "PGPORT": "9"}
    )
    assert done.returncode == 1 and "cannot be asked" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and SECRET not in done.stderr


def test_duckdb_is_a_file(project: Project, tmp_path: Any) -> None:
    done = run_roles(project, DuckDBWarehouse(tmp_path / "w.duckdb").variables)
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith("make roles: DuckDB has no roles: everybody who may read ")
    assert len(done.stderr.splitlines()) == 1


def test_make_prints_unless_told_to_apply() -> None:
    def command(*arguments: str) -> str:
        made = ["make", "-n", "roles", *arguments]
        return subprocess.run(made, cwd=REPO, capture_output=True, text=True).stdout

    assert "--apply" in command("APPLY=1")
    assert "roles.py" in command() and "--apply" not in command()


# -- the loader and dbt ---------------------------------------------------------------------------


def test_everything_belongs_to_its_role(house: House) -> None:
    owners = house.warehouse.query(
        "select distinct nspname, relowner::regrole::text from pg_class"
        " inner join pg_namespace on relnamespace = pg_namespace.oid"
        " where nspname !~ '^pg_|^information_schema$'"
    )
    built = ("intermediate", "marts", "seeds", "snapshots", "staging")
    assert sorted(owners) == [
        *((schema, TRANSFORMER) for schema in built[:2]),
        (RAW_SCHEMA, LOADER),
        *((schema, TRANSFORMER) for schema in built[2:]),
    ]


@pytest.mark.long
def test_the_shop_changes_and_all_goes_on(house: House) -> None:
    """Columns come, go and get another type; a table comes; the second build is incremental."""
    views = """
        select c.oid::regclass::text, c.relowner::regrole::text, c.relacl::text,
            obj_description(c.oid), pg_get_viewdef(c.oid)
        from pg_class as c where relkind = 'v' and relnamespace::regnamespace::text
            in ('staging', 'intermediate') order by 1
    """
    before = house.warehouse.query(views)
    execute(
        house,
        'alter table products alter "quantityInStock" type bigint;'
        "alter table customers add column nickname text; update customers set nickname = 'Nick';"
        'alter table orderdetails alter "orderLineNumber" type integer;'
        'alter table offices drop column "addressLine2";'
        "create table notes (id integer primary key, note text); insert into notes values (1, 'n')",
    )
    result = house.warehouse.load(house.shop)
    assert len(result.schema_changes) > 3
    # What stands over the tables was put back as it was.
    after = house.warehouse.query(views)
    assert [row[:4] for row in after] == [row[:4] for row in before] and len(after) > 10
    changed = house.warehouse.query(
        "select data_type from information_schema.columns where table_name = 'products'"
        f" and table_schema = '{RAW_SCHEMA}' and column_name = 'quantityinstock'"
    )
    assert changed == [("bigint",)]
    for sql in ("select nickname from {}.customers limit 1", "select note from {}.notes"):
        assert house.warehouse.ask(TRANSFORMER, sql.format(RAW_SCHEMA))
    house.build()


@pytest.mark.long
def test_the_transformer_builds_beside_and_publishes(house: House) -> None:
    """What each role sees of the marts is the same as after a build in place."""
    rights = (
        "select c.relname, cast(r.rights as text) from pg_class as c cross join lateral ("
        " select relacl as rights union all select attacl from pg_attribute where attrelid = c.oid"
        ") as r where relnamespace = 'marts'::regnamespace and r.rights is not null order by 1, 2"
    )
    before = house.warehouse.query(rights)
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "scripts/build.py", "--loaded"],
            cwd=house.project.folder,
            env=os.environ | house.warehouse.variables | {"TARGET": "postgres", "BUILD": "all"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert house.warehouse.query(rights) == before
        # As when a model has other columns, the next one exchanges a table.
        house.warehouse.query("alter table working.dim_offices drop column phone")
    assert house.warehouse.ask(REPORTER, "select order_status from marts.orders_obt limit 1")
    with house.warehouse.connect(PRIVILEGED) as pat:
        refused(pat, "select * from working.fact_orders")


def execute(house: House, sql: str) -> None:
    """Run statements in the shop."""
    with psycopg.connect(house.shop) as connection:
        connection.execute(sql.encode())


@pytest.mark.parametrize(
    "sql",
    [
        "select * from staging.stg_classicmodels__orders",
        "select 1 from marts.fact_orders",
        "drop view staging.stg_classicmodels__orders",
        "create table staging.t (a int)",
        "create schema elsewhere",
        "create table public.t (a int)",
        "set role classicmodels_transformer",
        "select raw_classicmodels.set_views_aside('marts.fact_orders')",
        # A table of its own in the place of what the function kept.
        "create temp table views_aside (depth int, name text, again text[]);"
        " insert into views_aside values (1, 'v', array['drop table marts.fact_orders']);"
        f" grant all on views_aside to {TRANSFORMER};"
        " select raw_classicmodels.put_views_back()",
    ],
)
def test_the_loader_writes_raw_only(house: House, sql: str) -> None:
    refused = r"denied|must be owner|is not a table in|not set aside"
    with pytest.raises(psycopg.Error, match=refused):
        house.warehouse.ask(LOADER, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "insert into raw_classicmodels.offices select * from raw_classicmodels.offices",
        "delete from raw_classicmodels.offices",
        "truncate raw_classicmodels.offices",
        "create table raw_classicmodels.t (a int)",
        "create table public.t (a int)",
        "create schema elsewhere",
    ],
)
def test_the_transformer_only_reads_raw(house: House, sql: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        house.warehouse.ask(TRANSFORMER, sql)


def test_a_view_of_somebody_else_is_named(house: House) -> None:
    house.warehouse.query(
        "create view public.theirs as select productcode from raw_classicmodels.products"
    )
    execute(house, 'alter table products alter "productCode" type text')
    # Text stays text; another type needs the view to go.
    execute(house, 'alter table products alter "buyPrice" type numeric(14, 3)')
    house.warehouse.query(
        "create or replace view public.theirs as select productcode, buyprice"
        " from raw_classicmodels.products"
    )
    with pytest.raises(LoadError, match=r"the view public\.theirs of postgres depends on it"):
        house.warehouse.load(house.shop)
    house.warehouse.query("drop view public.theirs")
    house.warehouse.load(house.shop)


# -- the reporters --------------------------------------------------------------------------------


def test_reporters_read_what_they_may(house: House) -> None:
    shown, hidden = house.columns(personal=False), house.columns(personal=True)
    assert len(shown) > 20 and sum(map(len, hidden.values())) > 20
    with house.warehouse.connect(REPORTER) as rea, house.warehouse.connect(PRIVILEGED) as pat:
        for mart in shown:
            rea.execute(f"select {', '.join(shown[mart])} from marts.{mart} limit 1".encode())
            rea.execute(f"select count(*) from marts.{mart}".encode())
            pat.execute(f"select * from marts.{mart} limit 1".encode())
            for column in hidden[mart]:
                for sql in (
                    f"select {column} from marts.{mart}",
                    f"select 1 from marts.{mart} where {column} is null",
                    f"select count({column}) from marts.{mart}",
                ):
                    refused(rea, sql)
            if hidden[mart]:
                for sql in ("select *", "select m", "select row_to_json(m)"):
                    refused(rea, f"{sql} from marts.{mart} as m")
                refused(rea, f"copy marts.{mart} to stdout")
            else:
                rea.execute(f"select * from marts.{mart} limit 1".encode())


def refused(connection: psycopg.Connection, sql: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(sql.encode())


@pytest.mark.parametrize("role", [REPORTER, PRIVILEGED])
@pytest.mark.parametrize(
    "sql",
    [
        *(
            f"select * from {table}"
            for table in (
                "raw_classicmodels.orders",
                "raw_classicmodels._load_runs",
                "staging.stg_classicmodels__customers",
                "intermediate.int_orders_tracked",
                "snapshots.customers_snapshot",
                "seeds.countries",
            )
        ),
        "insert into marts.fact_orders select * from marts.fact_orders",
        "update marts.dim_dates set date_key = 1",
        "delete from marts.dim_dates",
        "truncate marts.dim_dates",
        "drop table marts.dim_dates",
        "select date_key from marts.dim_dates for update",
        "create table marts.t (a int)",
        "create table public.t (a int)",
        "create schema elsewhere",
        "create temporary table t (a int)",
        "create view marts.v as select 1 as a",
        "create function marts.f() returns int language sql as 'select 1'",
        "select raw_classicmodels.put_views_back()",
        "set role classicmodels_transformer",
        "copy marts.dim_dates from stdin",
    ],
)
def test_reporters_are_refused(house: House, role: str, sql: str) -> None:
    with pytest.raises(psycopg.Error, match=r"denied|must be owner"):
        house.warehouse.ask(role, sql)


def test_statistics_tell_nothing(house: House) -> None:
    house.warehouse.query("analyze marts.dim_customers; analyze raw_classicmodels.customers")
    sql = "select schemaname, tablename, attname from pg_stats"
    personal = {
        ("marts", mart, column)
        for mart, columns in house.columns(personal=True).items()
        for column in columns
    }
    seen = set(house.warehouse.ask(REPORTER, f"{sql} where schemaname !~ '^pg_|^information'"))
    assert ("marts", "dim_customers", "customer_name") in seen
    assert not seen & personal and {schema for schema, _, _ in seen} == {"marts"}
    # They are there for whoever may see them.
    assert ("marts", "dim_customers", "phone") in house.warehouse.ask(PRIVILEGED, sql)


# -- while things change --------------------------------------------------------------------------


class Probe(threading.Thread):
    """Reads as the reporter, over and over, until it is told to stop."""

    def __init__(
        self, warehouse: Guarded, forbidden: Sequence[str], allowed: Sequence[str]
    ) -> None:
        super().__init__(daemon=True)
        self._warehouse = warehouse
        self._forbidden, self._allowed = forbidden, allowed
        self._ended = threading.Event()
        self.rounds = 0
        self.seen: list[str] = []  # what should have been refused
        self.errors: dict[str, set[str]] = {}  # of what should not, by error

    def run(self) -> None:
        with self._warehouse.connect(REPORTER) as connection:
            while not self._ended.is_set():
                for sql in self._forbidden:
                    if self._error(connection, sql) is None:
                        self.seen.append(sql)
                for sql in self._allowed:
                    if error := self._error(connection, sql):
                        self.errors.setdefault(error, set()).add(sql)
                self.rounds += 1

    def _error(self, connection: psycopg.Connection, sql: str) -> str | None:
        try:
            connection.execute(sql.encode()).fetchall()
        except psycopg.Error as error:
            return type(error).__name__
        return None

    def stop(self) -> None:
        self._ended.set()
        self.join()


@pytest.mark.long
def test_at_no_moment_of_a_rebuild_is_more_to_be_seen(house: House) -> None:
    tables = ("fact_orders", "dim_customers", "dim_employees")
    views = ("orders_obt", "dim_customers_current", "dim_employees_current")
    hidden, shown = house.columns(personal=True), house.columns(personal=False)
    forbidden = [f"select * from marts.{mart} limit 1" for mart in (*tables, *views)]
    for mart in tables:
        for name in (mart, f"{mart}__dbt_tmp", f"{mart}__dbt_backup"):
            forbidden += [f"select {column} from marts.{name} limit 1" for column in hidden[mart]]
    allowed = [f"select {', '.join(shown[mart])} from marts.{mart} limit 1" for mart in tables]
    viewed = [f"select {', '.join(shown[mart])} from marts.{mart} limit 1" for mart in views]
    probes = [
        Probe(house.warehouse, forbidden, []),
        Probe(house.warehouse, [], allowed),
        Probe(house.warehouse, [], viewed),
    ]
    for probe in probes:
        probe.start()
    try:
        for _ in range(2):
            house.build("--full-refresh")
    finally:
        for probe in probes:
            probe.stop()
    assert min(probe.rounds for probe in probes) > 50
    assert probes[0].seen == []
    # Tables can be read all the time. A view is gone from when its table is made anew until dbt
    # comes to it, but never refuses; nor do reader and build wait for each other.
    assert probes[1].errors == {}
    assert set(probes[2].errors) <= {"UndefinedTable"}


CLASS = "        config: {meta: {personal_data: %s, unit: none, additive: false}}\n"
FACT, FACT_YML = "models/marts/core/fact_payments.sql", "models/marts/core/fact_payments.yml"
CHECK = "      - name: check_number\n        data_type: varchar(512)\n"
NEW_COLUMN = (
    FACT,
    "        payments.check_number,\n",
    "        payments.check_number,\n        1 as extra,\n",
)
NEW_MODEL = "models/marts/finance/brand_new"


def new_column(classified: str) -> tuple[str, str, str]:
    extra = f"      - name: extra\n        data_type: integer\n{classified}"
    return FACT_YML, CHECK, extra + CHECK


@pytest.mark.long
def test_what_is_new_is_hidden_until_it_is_classified(house: House) -> None:
    folder = house.project.folder
    model, properties = folder / f"{NEW_MODEL}.sql", folder / f"{NEW_MODEL}.yml"
    text = "models:\n  - name: brand_new\n    columns:\n" + "".join(
        f"      - name: {name}\n        data_type: integer\n%s" for name in ("a", "b")
    )
    # Of both, what somebody says is personal, and what nobody says anything about.
    steps = (("", "", ""), (CLASS % "false", CLASS % "false", CLASS % "true"))
    try:
        model.write_text("{{ config(unique_key='a') }}\n\nselect 1 as a, 2 as b\n", "utf-8")
        for extra, a, b in steps:
            properties.write_text(text % (a, b), "utf-8")
            with house.project.edited([NEW_COLUMN, new_column(extra)]):
                house.build("-s", "fact_payments", "brand_new")
            with house.warehouse.connect(REPORTER) as rea:
                rea.execute("select payment_amount from marts.fact_payments")
                for column, mart, is_shown in (
                    ("extra", "fact_payments", bool(extra)),
                    ("a", "brand_new", bool(a)),
                    ("b", "brand_new", False),
                    ("*", "brand_new", False),
                ):
                    sql = f"select {column} from marts.{mart}"
                    if is_shown:
                        rea.execute(sql.encode())
                    else:
                        refused(rea, sql)
            assert house.warehouse.ask(PRIVILEGED, "select extra from marts.fact_payments")
            assert house.warehouse.ask(PRIVILEGED, "select * from marts.brand_new") == [(1, 2)]
    finally:
        model.unlink()
        properties.unlink()
    house.build("-s", "fact_payments")
    with house.warehouse.connect(REPORTER) as rea:
        rea.execute("select * from marts.fact_payments")


@pytest.mark.long
def test_a_column_that_becomes_personal_is_hidden_by_the_next_build(house: House) -> None:
    sql = "select check_number from marts.fact_payments"
    assert house.warehouse.ask(REPORTER, sql)
    old = CHECK + CLASS % "false"
    with house.project.edited([(FACT_YML, old, CHECK + CLASS % "true")]):
        outcome = house.project.dbt(house.warehouse, "run", "-s", "fact_payments")
        assert outcome.messages == {"fact_payments": "0 rows written"}
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        house.warehouse.ask(REPORTER, sql)
    house.build("-s", "fact_payments")
    assert house.warehouse.ask(REPORTER, sql)


@pytest.mark.long
def test_rights_by_default_do_not_go_before(house: House) -> None:
    """What an administrator gave to everybody, or to the role, as the README once said."""
    house.warehouse.query(
        f"alter default privileges for role {TRANSFORMER} in schema marts"
        f" grant select on tables to public, {REPORTER}"
    )
    house.build("-s", "dim_customers", "dim_customers_current", "--full-refresh")
    with house.warehouse.connect(REPORTER) as rea:
        for mart in ("dim_customers", "dim_customers_current"):
            refused(rea, f"select phone from marts.{mart}")
    house.warehouse.query(
        f"alter default privileges for role {TRANSFORMER} in schema marts"
        f" revoke select on tables from public, {REPORTER}"
    )


@pytest.mark.long
def test_a_mart_asks_once_which_roles_there_are(house: House) -> None:
    log = house.warehouse.server.folder / "server.log"
    before = log.read_text("utf-8").count("from pg_roles where rolname in")
    house.build("-s", "dim_dates", "dim_offices", "dim_products")
    assert log.read_text("utf-8").count("from pg_roles where rolname in") == before + 3


# -- where there were no roles --------------------------------------------------------------------


@pytest.mark.long
def test_without_roles_nothing_is_granted(project: Project, postgres: PostgresServer) -> None:
    warehouse = PostgresWarehouse(postgres, own("without_roles"))
    assert not postgres.execute(f"select 1 from pg_roles where rolname in {tuple(USERS)}")
    shop = postgres.create_database("shop_without_roles")
    create_shop(shop)
    warehouse.load(shop)
    with elsewhere(project):
        outcome = project.dbt(warehouse, "run", "-s", "+dim_dates")
    assert outcome.green, outcome
    rights = "select relname, relacl from pg_class where relnamespace = 'marts'::regnamespace"
    assert warehouse.query(rights) == [("dim_dates", None)]


def elsewhere(project: Project, old: str = "", new: str = "") -> AbstractContextManager[None]:
    """The project parsed anew, for another database or with a change of its settings."""
    return project.edited([("dbt_project.yml", old, new)])


@pytest.mark.long
def test_what_one_user_built_is_taken_over(house: House, server: PostgresServer) -> None:
    """An upgrade: one user loaded and built everything, and somebody above all rights applies."""
    shop = server.create_database("shop_of_one")
    create_shop(shop)
    single = PostgresWarehouse(server, own("single"))
    single.load(shop)
    chosen = ("-s", "+dim_offices", "customers_snapshot", "stg_classicmodels__products")
    # As if there were no roles yet.
    with elsewhere(house.project, " classicmodels_", " absent_"):
        outcome = house.project.dbt(single, "build", *chosen, *ONLY_MODELS)
    assert outcome.green, outcome
    above = server.environment(single.database) | {
        "TARGET": "postgres",
        "PGUSER": server.administrator,
    }
    assert "have their rights" in make_roles(house.project, above, "--apply")
    guarded = Guarded.over(single)
    assert guarded.query(
        "select distinct relowner::regrole::text from pg_class"
        " where relnamespace::regnamespace::text in"
        " ('raw_classicmodels', 'staging', 'marts', 'snapshots', 'seeds') order by 1"
    ) == [(LOADER,), (TRANSFORMER,)]
    with psycopg.connect(shop) as connection:
        connection.execute('alter table products alter "MSRP" type numeric(16, 4)')
    guarded.load(shop)
    with elsewhere(house.project):
        House(house.project, shop, guarded).build(*chosen)
    assert guarded.ask(REPORTER, "select city from marts.dim_offices")


# -- Amazon Redshift, as far as that goes without one ---------------------------------------------


@pytest.mark.long
def test_redshift_through_the_shim(house: House, server: PostgresServer) -> None:
    """The statements of roles and hooks run, behind the shim; they give PostgreSQL's rights there.

    It does not know rights on tables that will be, so they are given again after the load.
    """
    with Shim(server) as shim:

        class Behind(ShimWarehouse):
            user = server.administrator

            @property
            def variables(self) -> dict[str, str]:
                return super().variables | {"REDSHIFT_USER": self.user, "TARGET": "redshift"}

        warehouse = Behind(shim, server, "behind_the_shim")
        make_roles(house.project, warehouse.variables, "--apply")
        for role in (LOADER, TRANSFORMER):
            server.execute(f"alter user {USERS[role]} password '{server.password}'")
            # There users own what they make.
            server.execute(f"alter role {USERS[role]} reset role")
        warehouse.user = USERS[LOADER]
        shop = server.create_database("shop_of_redshift")
        create_shop(shop)
        warehouse.load(shop)
        warehouse.user = server.administrator
        make_roles(house.project, warehouse.variables, "--apply")
        warehouse.user = USERS[TRANSFORMER]
        chosen = ("+dim_customers_current", "+fact_payments")
        for _ in range(2):
            outcome = house.project.dbt(warehouse, "build", "-s", *chosen, *ONLY_MODELS)
            assert outcome.green, str(outcome)
        guarded = Guarded.over(warehouse)
        for mart in ("dim_customers", "dim_customers_current"):
            with guarded.connect(REPORTER) as rea:
                rea.execute(f"select customer_name from marts.{mart}".encode())
                refused(rea, f"select phone from marts.{mart}")
                refused(rea, "select * from raw_classicmodels.orders")
            assert guarded.ask(PRIVILEGED, f"select phone from marts.{mart}")


def test_redshift_has_what_its_roles_ask_for() -> None:
    known = roles.names(REPO, "public", "redshift")
    answers: dict[str, list[tuple[Any, ...]]] = {
        "select role_name from svv_roles": [],
        "select current_database()": [("dev",)],
        roles.RUNS_ARE_THERE.format(raw=f"'{RAW_SCHEMA}'"): [(1,)],
    }
    statements = list(roles.redshift_statements(answers.__getitem__, known))
    assert f'create role "{LOADER}"' in statements
    assert [found for sql in statements for found in refusals(sql)] == []
