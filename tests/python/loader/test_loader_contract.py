"""What the models read must be there, whatever became of it; what is accepted stays as it was."""

import sqlite3
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from loader import DuckDBDestination, LoadError, Options, UsageError, load
from loader.config import read_config
from loader.fitting import _fits, takes
from loader.options import Accepted
from loader.required import read_required
from loader.schema import (
    BIGINT,
    BINARY,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    TEXT,
    TIMESTAMP,
    UNSIGNED_BIGINT,
    Type,
    decimal_type,
)
from support.loader_command import Ran, in_process
from support.one_run import own

SOURCES = """
sources:
  - name: shop
    schema: "{{ var('raw_schema') }}"
    tables:
      - name: customers
        columns:
          - {name: id, data_type: integer}
          - {name: city, data_type: text}
          - {name: creditlimit, data_type: "numeric(12, 2)"}
          - {name: since, data_type: date}
          - {name: _loaded_at}
      - name: payments
        columns: [{name: id}, {name: amount, data_type: "numeric(12, 2)"}]
  - name: audit
    schema: "{{ var('raw_schema') }}"
    tables: [{name: _load_runs}]
  - name: crm
    schema: elsewhere
    tables: [{name: leads}]
"""
MODELS = {
    "staging/stg_customers.sql": """
        select id, {{ clean('city') }} as city,
        cast(creditlimit as numeric(12, 2))
            as credit_limit,
        since from {{ source('shop', 'customers') }}""",
    "staging/stg_payments.sql": "select id, amount from {{ source('shop', 'payments') }}",
    "marts/dim_customers.sql": """
        select c.city, coalesce(c.credit_limit, 0) as limit_now
        from {{ ref('stg_customers') }} as c""",
    "marts/risky_customers.sql": """
        select d.limit_now > 5 as is_risky
        from {{ ref("dim_customers") }} as d""",
    "marts/cities.sql": "select city -- not credit_limit\nfrom {{ ref('dim_customers') }}",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small dbt project; the path of its models."""
    (tmp_path / "dbt_project.yml").write_text("vars: {raw_schema: raw_classicmodels}\n")
    for name, sql in MODELS.items():
        file = tmp_path / "models" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(sql)
    (tmp_path / "models" / "staging" / "_sources.yml").write_text(SOURCES)
    return tmp_path / "models"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A shop that has all that the models read, and another table."""
    with sqlite3.connect(tmp_path / "shop.sqlite", isolation_level=None) as connection:
        connection.executescript(
            "create table customers (id integer primary key, city text, creditLimit decimal(10,2),"
            " since date, phone text);"
            "insert into customers values (1, 'Rome', 10.5, '2020-01-02', '06'),"
            " (2, 'Oslo', null, '2021-01-02', '22'), (3, 'Bonn', 7, '2022-01-02', null);"
            "create table payments (id integer primary key, amount decimal(10,2));"
            "insert into payments values (1, 99.95), (2, 1);"
            "create table notes (id integer primary key)"
        )
        yield connection
    connection.close()


@pytest.fixture
def loaded(project: Path, shop: sqlite3.Connection, tmp_path: Path) -> Callable[..., Ran]:
    """Run the loader on the shop, which was loaded once, with the models as a contract."""

    def run(*arguments: str) -> Ran:
        source = ("--source", "sqlite:///shop.sqlite", "--duckdb-path", "w.duckdb")
        return in_process(*source, "--require", "models/", *arguments, folder=tmp_path)

    assert run().code == 0
    return run


def held(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(folder / "w.duckdb"), read_only=True) as warehouse:
        warehouse.execute("set schema = 'raw_classicmodels'")
        rows: list[tuple[Any, ...]] = warehouse.execute(sql).fetchall()
    return rows


# -- what is required ------------------------------------------------------------------------------


def test_what_the_sources_of_a_project_declare(project: Path) -> None:
    money = Type(decimal_type(12, 2).kind, 12, 2)
    required = read_required(["models", "notes", "notes.text"], project.parent, "here")
    assert required.tables == {
        "customers": {"id": INTEGER, "city": TEXT, "creditlimit": money, "since": DATE},
        "payments": {"id": None, "amount": money},
        "notes": {"text": None},
    }
    # A column goes on under other names; a comment is no use of it.
    assert required.marts("customers", "creditlimit") == ["dim_customers", "risky_customers"]
    assert required.marts("customers", "city") == ["cities", "dim_customers"]
    assert required.marts("customers") == ["cities", "dim_customers", "risky_customers"]
    assert required.marts("payments", "amount") == []


@pytest.mark.parametrize(
    ("entry", "text", "says"),
    [
        ("gone/", "", "no file or folder"),
        ("models/", "sources: [", "is not YAML"),
        ("models/", "models: []", "declares no sources"),
        (
            "models/",
            "sources: [{name: s, schema: raw_schema, tables: [{name: t, columns:"
            " [{name: c, data_type: money}]}]}]",
            "t.c: the data_type money is unknown",
        ),
    ],
)
def test_mistakes_in_what_is_required(entry: str, text: str, says: str, project: Path) -> None:
    for file in project.rglob("*.yml"):
        file.write_text(text)
    with pytest.raises(UsageError, match=f"^here: .*{says}"):
        read_required([entry], project.parent, "here")


DROPPED = "alter table customers drop column creditLimit"
RENAMED = "alter table customers rename column creditLimit to ceiling"
# What happens in the shop, options, and what the sentence says.
BREAKS = {
    "dropped": (DROPPED, "", ["customers.creditlimit", "does not have any more (it was decimal"]),
    "marts": (DROPPED, "", ["needed by dim_customers, risky_customers", "accept: [{column: "]),
    "renamed": (RENAMED, "", ["renamed to ceiling", "same values in 3 of 3 rows"]),
    "renamed, with other values": (
        f"{RENAMED}; update customers set ceiling = 1",
        "",
        ["customers.creditlimit, which the source does not have any more"],
    ),
    "moved to the end": (
        f"alter table customers add column ceiling decimal(10,2); update customers set ceiling ="
        f" creditLimit; {DROPPED}",
        "",
        ["does not have any more"],
    ),
    "table gone": ("drop table payments", "", ["the table payments, which the source does not"]),
    "table renamed": (
        "alter table payments rename to payments_old",
        "",
        ["the source has renamed to payments_old", "same values in 2 of 2 rows"],
    ),
    "two at once": (f"{DROPPED}; drop table payments", "", ["customers.creditlimit", "payments"]),
    "view": (
        "alter table payments rename to p; create view payments as select * from p",
        "",
        ["payments, which in the source is a view", "--select"],
    ),
    "excluded": ("", "--exclude=payments", ["payments, which --select or --exclude"]),
    "excluded column": ("", "--exclude-columns=city", ["customers.city", "hash it instead"]),
    "retyped": (
        f"{DROPPED}; alter table customers add column creditLimit blob",
        "",
        ["customers.creditLimit is BLOB", "(before: decimal(10,2))", "cannot make decimal(12,2)"],
    ),
    "values": (
        f"{DROPPED}; alter table customers add column creditLimit double;"
        " update customers set creditLimit = 7.005 where id = 2",
        "",
        ["1 of its values cannot become decimal(12,2)", "7.005, where the key is 2"],
    ),
    "key renamed": (
        "alter table customers rename column id to number",
        "",
        ["customers.id, which the source has renamed to number"],
    ),
    "exchanged": (
        "alter table customers rename column city to x; alter table customers rename column phone"
        " to city; alter table customers rename column x to phone",
        "",
        ["customers.phone has the values that city had (3 of 3 rows; city itself has 0)"],
    ),
    "renamed, and a new one with its name": (
        f"{RENAMED}; alter table customers add column creditLimit decimal(10,2)",
        "",
        ["customers.ceiling has the values that creditLimit had", "dim_customers, risky_"],
    ),
}


@pytest.mark.parametrize("case", BREAKS)
def test_a_broken_contract_publishes_nothing(
    case: str, loaded: Callable[..., Ran], shop: sqlite3.Connection, tmp_path: Path
) -> None:
    sql, options, words = BREAKS[case]
    before = [held(tmp_path, f"select * from {table}") for table in ("customers", "payments")]
    shop.executescript(f"insert into customers values (4, 'Bern', 1, null, null); {sql}")
    ran = loaded(*options.split())
    assert ran.code == 1 and len(ran.err.splitlines()) == 1
    for word in words:
        assert word in ran.err
    assert "Nothing was published" in ran.err
    now = [held(tmp_path, f"select * from {table}") for table in ("customers", "payments")]
    assert now == before
    status = "select status from _load_runs order by batch_id desc limit 1"
    assert held(tmp_path, status) == [("failed",)]
    gone = [("payments",)] if "payments" in sql.partition("create")[0] and case != "view" else []
    assert held(tmp_path, "select table_name from _load_tables where status = 'gone'") == gone
    # What is mended is loaded.
    if case == "dropped":
        shop.execute("alter table customers add column creditLimit decimal(10,2)")
        assert loaded().code == 0


def test_columns_in_another_order_are_the_same(
    loaded: Callable[..., Ran], shop: sqlite3.Connection
) -> None:
    """Also where the values of one changed."""
    shop.executescript(
        "alter table customers rename to c; create table customers (id integer primary key,"
        " phone text, since date, creditLimit decimal(10,2), city text);"
        "insert into customers select id, phone, since, creditLimit, 'Kiel' from c; drop table c"
    )
    assert loaded().code == 0


def test_exchanged_names_can_be_right(
    loaded: Callable[..., Ran], shop: sqlite3.Connection, tmp_path: Path
) -> None:
    shop.executescript(BREAKS["exchanged"][0])
    assert loaded("--full-refresh", "--select", "customers").code == 0
    assert loaded().code == 0
    assert held(tmp_path, "select city from customers where id = 1") == [("06",)]


def test_a_part_of_the_tables_can_be_loaded(loaded: Callable[..., Ran]) -> None:
    """What is in the warehouse already need not be selected each time."""
    assert loaded("--select", "customers").code == 0
    other = loaded("--select", "customers", "--duckdb-path", "other.duckdb")
    assert other.code == 1 and "payments, which --select" in other.err


def test_without_a_contract_the_source_may_change(
    loaded: Callable[..., Ran], shop: sqlite3.Connection, tmp_path: Path
) -> None:
    shop.executescript(f"{DROPPED}; drop table payments")
    plain = ("--source", "sqlite:///shop.sqlite", "--duckdb-path", "w.duckdb")
    ran = in_process(*plain, folder=tmp_path)
    assert ran.code == 0
    assert "schema: payments: table dropped" in ran.out
    assert "payments.amount" not in ran.out  # said with its table
    # It is known as gone from now on, and never equal.
    for _ in range(2):
        ran = in_process(*plain, "--verify-only", folder=tmp_path)
        assert ran.code == 1 and ran.tables["payments"] == ["0", "2", "differs"]
        assert "payments is gone from the source: its 2 rows" in ran.out
        assert in_process(*plain, folder=tmp_path).code == 0
    assert held(tmp_path, "select count(*) from _load_tables where status = 'gone'") == [(1,)]
    # It comes back.
    shop.executescript("create table payments (id integer primary key, amount decimal(10,2))")
    ran = in_process(*plain, "--max-delete-share", "1", folder=tmp_path)
    assert "schema: payments: table added" in ran.out


def test_a_plan_says_what_a_load_would_refuse_and_drop(
    loaded: Callable[..., Ran], shop: sqlite3.Connection
) -> None:
    shop.executescript(f"{DROPPED}; drop table payments; drop table notes")
    ran = loaded("--plan")
    assert ran.code == 1
    assert ran.tables["notes"] == ["gone", "?", "not in the source any more; its rows stay"]
    for line in ("customers.creditlimit: column dropped", "payments: table dropped"):
        assert f"schema: {line}" in ran.out
    assert "customers.creditlimit, which the source does not have any more" in ran.err
    plan = {line["table"]: line for line in loaded("--plan", "--log-format", "json").json}
    assert plan["customers"]["changes"] == ["customers.creditlimit: column dropped"]
    assert plan["notes"] | {"why": ""} == {
        "table": "notes", "mode": "gone", "rows": None, "why": "", "columns": {},
        "changes": ["table dropped"],
    }  # fmt: skip


def test_a_renamed_key_is_named(shop: sqlite3.Connection, tmp_path: Path) -> None:
    """Also where no model needs the table."""
    plain = ("--source", "sqlite:///shop.sqlite", "--duckdb-path", "w.duckdb")
    shop.execute("insert into notes values (1), (2)")
    assert in_process(*plain, folder=tmp_path).code == 0
    shop.execute("alter table notes rename column id to number")
    ran = in_process(*plain, folder=tmp_path)
    assert ran.code == 1
    assert "No row of notes can be found again" in ran.err
    assert "renamed its key column id to number" in ran.err and "--full-refresh" in ran.err
    assert in_process(*plain, "--full-refresh", folder=tmp_path).code == 0


@pytest.mark.parametrize("kind", ["mariadb", "postgres"])
def test_a_server_renames_and_retypes(
    kind: str, request: pytest.FixtureRequest, project: Path, tmp_path: Path
) -> None:
    server = request.getfixturevalue(kind)
    name = own("contract")
    url = server.create_database(name)
    money = "double precision" if kind == "postgres" else "double"
    server.execute(
        "create table customers (id int primary key, city varchar(9), creditlimit decimal(10,2),"
        " since date); create table payments (id int primary key, amount decimal(10,2));"
        "insert into customers values (1, 'Rome', 10.5, '2020-01-02'), (2, 'Oslo', null, null);"
        "insert into payments values (1, 99.95)",
        name,
    )
    options = Options(required=read_required(["models"], tmp_path, "here"))

    def loads() -> None:
        load(url, DuckDBDestination("raw", tmp_path / "w.duckdb"), options)

    loads()
    server.execute("alter table customers rename column id to number", name)
    with pytest.raises(LoadError, match=r"customers\.id, .* renamed to number .* 2 of 2 rows"):
        loads()
    server.execute("alter table customers rename column number to id", name)
    # Text that became JSON has quotes (that of MariaDB is text with a check); longer text has not.
    longer, quoted, plain = (
        (
            "alter table customers alter city type text",
            "alter table customers alter city type json using to_json(city)",
            "alter table customers alter city type text using city #>> '{}'",
        )
        if kind == "postgres"
        else (
            "alter table customers modify city text",
            "alter table customers modify city varchar(30); update customers set city ="
            " json_quote(city)",
            "alter table customers modify city text; update customers set city ="
            " json_unquote(city)",
        )
    )
    server.execute(longer, name)
    loads()
    server.execute(quoted, name)
    with pytest.raises(LoadError, match=r"customers\.city is .*, and only 0 of its 2 values are"):
        loads()
    server.execute(plain, name)
    # Older forms of the same values are taken; other values are not.
    change = "alter column amount type" if kind == "postgres" else "modify amount"
    server.execute(f"alter table payments {change} {money}", name)
    change = "alter column since type" if kind == "postgres" else "modify since"
    server.execute(
        f"alter table customers {change} timestamp null".removesuffix(
            " null" if kind == "postgres" else ""
        ),
        name,
    )
    loads()
    server.execute("update payments set amount = 0.125", name)
    with pytest.raises(
        LoadError, match=r"payments\.amount is double.*example 0\.125, where the key"
    ):
        loads()
    server.execute("update payments set amount = 1; alter table payments rename to paid", name)
    with pytest.raises(LoadError, match="payments, which the source has renamed to paid"):
        loads()


# -- types -----------------------------------------------------------------------------------------

MONEY = decimal_type(12, 2)


@pytest.mark.parametrize(
    ("wanted", "given", "taken"),
    [
        (TEXT, BIGINT, True),  # a code that looks like a number
        (TEXT, UNSIGNED_BIGINT, True),
        (TEXT, DATE, True),
        (TEXT, decimal_type(5, 2), False),  # 9.5 or 9.50?
        (TEXT, DOUBLE, False),
        (TEXT, BOOLEAN, False),
        (TEXT, BINARY, False),
        (INTEGER, BIGINT, True),
        (INTEGER, decimal_type(5, 1), None),
        (INTEGER, DOUBLE, None),
        (INTEGER, TEXT, None),
        (INTEGER, BOOLEAN, False),
        (MONEY, INTEGER, True),
        (MONEY, decimal_type(10, 2), True),
        (MONEY, decimal_type(10, 4), None),
        (MONEY, DOUBLE, None),
        (MONEY, DATE, False),
        (DATE, TIMESTAMP, None),
        (DATE, TEXT, None),
        (DATE, INTEGER, False),
        (TIMESTAMP, DATE, True),
        (BINARY, TEXT, False),
    ],
    ids=str,
)
def test_types_that_models_can_take(wanted: Type, given: Type, taken: bool | None) -> None:
    assert takes(wanted, given) is taken


@pytest.mark.parametrize(
    ("wanted", "given", "good", "bad"),
    [
        (INTEGER, decimal_type(5, 1), "1370.0 -2.0", "1370.5"),
        (INTEGER, DOUBLE, "1370 1.37e3", "0.5 1e10 NaN Infinity"),
        (INTEGER, TEXT, "7 -7", "7a 12345678901 "),
        (MONEY, DOUBLE, "95.55 0.1 1e3 9999999999.99", "95.555 1e10 NaN -Infinity"),
        (MONEY, decimal_type(10, 4), "95.5500 1.0000", "95.5501"),
        (MONEY, TEXT, "95.5 95.500", "95.501 1e3 x"),
        (DATE, TIMESTAMP, "2026-01-02_00:00:00", "2026-01-02_00:00:01 2026-01-02_00:00:00.1"),
        (DATE, TEXT, "2026-01-02", "2026-02-30 20260102 02.01.2026"),
    ],
    ids=str,
)
def test_values_that_models_can_take(wanted: Type, given: Type, good: str, bad: str) -> None:
    fits = _fits(wanted, given)
    assert {word: fits(word.replace("_", " ")) for word in good.split()} == dict.fromkeys(
        good.split(), True
    )
    assert {word: fits(word.replace("_", " ")) for word in bad.split()} == dict.fromkeys(
        bad.split(), False
    )


def test_a_file_says_where_to_declare_the_column(project: Path, tmp_path: Path) -> None:
    (tmp_path / "dumps").mkdir()
    rows = "id,city,creditLimit,since\n1,1.5,1.10,2020-01-01\n2,2.25,2,2020-01-02\n"
    (tmp_path / "dumps" / "customers.csv").write_text(rows)
    (tmp_path / "dumps" / "payments.csv").write_text("id,amount\n1,2\n")
    ran = in_process(
        "--source", "file:///dumps", "--duckdb-path", "w.duckdb", "--require", "models",
        folder=tmp_path,
    )  # fmt: skip
    assert ran.code == 1
    assert "customers.city is decimal(18,2)" in ran.err and "schema.yml" in ran.err
    assert "customers: columns: city: text" in ran.err


# -- what is accepted ------------------------------------------------------------------------------


def test_an_accepted_column_stays_as_it_was(
    project: Path, shop: sqlite3.Connection, warehouse: Any, tmp_path: Path
) -> None:
    opened, ask = warehouse
    url = f"sqlite:///{tmp_path / 'shop.sqlite'}"
    accept = [Accepted("customers.creditLimit", date(2026, 1, 1), "no credit")]
    for required in ([], ["models"]):
        options = Options(
            required=read_required(required, tmp_path, "here"), accept=accept, max_delete_share=1
        )
        load(url, opened(), options)
        limits = "select id, creditlimit, _loaded_at from raw.customers order by id"
        before = ask(limits)
        shop.executescript(f"{DROPPED}; insert into customers values (4, 'Bern', null, null)")
        result = load(url, opened(), options)
        assert any("customers.creditLimit, which is accepted" in text for text in result.warnings)
        after = ask(limits)
        # Nothing has changed of what was there, and what is new is unknown.
        assert after[:3] == before and after[3][1] is None
        with pytest.raises(UsageError, match=r"--full-refresh would lose .*creditlimit"):
            load(url, opened(), Options(accept=accept, full_refresh=True))
        # The column comes back, with one other value.
        shop.executescript(
            "alter table customers add column creditLimit decimal(10,2);"
            "update customers set creditLimit = 10.5 where id = 1;"
            "update customers set creditLimit = 8 where id = 3"
        )
        result = load(url, opened(), options)
        assert any("remove it from accept" in text for text in result.warnings)
        assert [row[:2] for row in ask(limits)] == [
            (1, Decimal("10.5")), (2, None), (3, Decimal(8)), (4, None),
        ]  # fmt: skip
        assert ask(limits)[:2] == before[:2]
        shop.execute("delete from customers where id = 4")
        shop.execute("update customers set creditLimit = 7 where id = 3")
        load(url, opened(), options)
        ask("delete from raw.customers where id = 4")


def test_a_first_load_has_an_accepted_column_too(
    project: Path, shop: sqlite3.Connection, warehouse: Any, tmp_path: Path
) -> None:
    opened, ask = warehouse
    shop.execute(DROPPED)
    options = Options(
        required=read_required(["models"], tmp_path, "here"),
        accept=[Accepted("customers.creditlimit", date(2026, 1, 1), "x")],
    )
    for _ in range(2):
        load(f"sqlite:///{tmp_path / 'shop.sqlite'}", opened(), options)
        assert ask("select count(*), count(creditlimit) from raw.customers") == [(3, 0)]


def test_what_cannot_be_accepted(project: Path, shop: sqlite3.Connection, tmp_path: Path) -> None:
    required = read_required(["models"], tmp_path, "here")

    def refused(column: str, since: date, error: type[LoadError], says: str) -> None:
        options = Options(required=required, accept=[Accepted(column, since, "x")])
        with pytest.raises(error, match=says):
            load(
                f"sqlite:///{tmp_path / 'shop.sqlite'}",
                DuckDBDestination("raw", tmp_path / "w.duckdb"),
                options,
            )

    refused("customers.credit", date(2026, 1, 1), UsageError, "neither the models nor the wareh")
    shop.execute(DROPPED)
    refused("customers.creditlimit", date(2999, 1, 1), LoadError, "creditlimit, which the source")


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("{column: customers.city, from: 2026-01-01}", "because is missing"),
        ("{column: city, from: 2026-01-01, because: x}", "as table.column"),
        ("{column: customers.city, from: soon, because: x}", "from cannot be 'soon'"),
        ("{table: customers}", "unknown key table"),
        ("customers.city", "accept cannot be"),
    ],
)
def test_mistakes_in_what_is_accepted(entry: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "l.yml").write_text(f"accept: [{entry}]")
    with pytest.raises(UsageError, match=says):
        read_config(tmp_path / "l.yml")


def test_the_configuration_has_both(project: Path, tmp_path: Path) -> None:
    (tmp_path / "l.yml").write_text(
        "required: models/\naccept: [{column: customers.city, from: 2026-01-02, because: gone}]"
    )
    options = read_config(tmp_path / "l.yml").options
    assert options.accept == [Accepted("customers.city", date(2026, 1, 2), "gone")]
    assert options.required.tables.keys() == {"customers", "payments"}
