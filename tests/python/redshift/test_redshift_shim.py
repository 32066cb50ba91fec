"""dbt-redshift builds the project on the shim, and the marts are those of the other warehouses.

What this proves and what it does not is in docs/redshift-checks.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from hashlib import md5
from io import BytesIO
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redshift_connector
import requests
from moto.server import ThreadedMotoServer
from redshift_connector.error import Error as RedshiftError
from redshift_connector.error import ProgrammingError

from support.built import DAY, BuiltWarehouses
from support.one_run import own
from support.project import (
    REVENUE,
    Mart,
    Project,
    Warehouse,
    assert_same_rows,
)
from support.shim import Shim, prepare
from tools.servers import HOST, PostgresServer

# The loader's account and dbt's own hash; what a snapshot says besides is about the shop.
NOT_BUSINESS = {"_batch_id", "dbt_scd_id"}
WITHOUT_TESTS = ("--exclude-resource-type", "test", "unit_test")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"), as_of=DAY)


# -- the project ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Three:
    """The warehouses after the same two loads and builds, the second one of a shop that changed."""

    redshift: Warehouse
    others: list[Warehouse]
    marts: list[Mart]
    snapshots: list[Mart]
    written: dict[str, dict[str, str]]  # by target and model, what the second build says of rows


@pytest.fixture(scope="module")
def three(
    project: Project, built: BuiltWarehouses, tmp_path_factory: pytest.TempPathFactory
) -> Three:
    folder = tmp_path_factory.mktemp("three")
    copies = {
        target: built.copy(target, "changed", f"three_{target}", folder)
        for target in ("redshift", "duckdb", "postgres")
    }
    redshift, *others = (copy.warehouse for copy in copies.values())
    written = {
        target: {name: said for name, said in copy.messages.items() if "rows written" in said}
        for target, copy in copies.items()
    }
    marts = project.marts(others[0])
    nodes = project.manifest(redshift)["nodes"].values()
    snapshots = [
        Mart(
            node["name"],
            {name: "" for name in node["columns"] if name not in NOT_BUSINESS},
            (node["config"]["unique_key"], "dbt_valid_from"),
            schema="snapshots",
        )
        for node in nodes
        if node["resource_type"] == "snapshot"
    ]
    return Three(redshift, others, marts, snapshots, written)


@pytest.mark.long
@pytest.mark.parametrize("other", ["duckdb", "postgres"])
def test_marts_are_the_same_as_elsewhere(three: Three, other: str) -> None:
    (warehouse,) = (found for found in three.others if found.target == other)
    assert_same_rows(three.marts, three.redshift, warehouse)


@pytest.mark.long
@pytest.mark.parametrize("other", ["duckdb", "postgres"])
def test_snapshots_are_the_same_as_elsewhere(three: Three, other: str) -> None:
    (warehouse,) = (found for found in three.others if found.target == other)
    assert len(three.snapshots) == 6
    assert_same_rows(three.snapshots, three.redshift, warehouse)


@pytest.mark.long
def test_a_later_build_writes_what_differs_and_says_so(three: Three) -> None:
    assert three.written["redshift"] == three.written["duckdb"] == three.written["postgres"]
    assert any(not said.startswith("0 ") for said in three.written["redshift"].values())


@pytest.mark.long
def test_nothing_is_written_when_nothing_has_changed(three: Three, project: Project) -> None:
    before = three.redshift.counters()
    outcome = project.dbt(three.redshift, "build", *WITHOUT_TESTS)
    assert outcome.green, outcome
    assert {m for m in outcome.messages.values() if "rows written" in m} == {"0 rows written"}
    assert three.redshift.counters() == before


@pytest.mark.long
def test_snapshots_know_what_is_gone(three: Three) -> None:
    ((gone,),) = three.redshift.query(
        "select count(*) from snapshots.orders_snapshot where dbt_is_deleted = 'True'"
    )
    ((missing,),) = three.redshift.query(
        "select count(*) from orders where _deleted_at is not null"
    )
    assert gone == missing


@pytest.mark.long
def test_a_full_refresh_comes_to_the_same_rows(three: Three, project: Project) -> None:
    outcome = project.dbt(three.redshift, "build", "--full-refresh", *WITHOUT_TESTS)
    assert outcome.green, outcome
    assert_same_rows(three.marts, three.redshift, three.others[0])


@pytest.mark.long
def test_catalog_and_freshness(three: Three, project: Project) -> None:
    catalog = project.catalog(three.redshift)
    assert set(catalog) >= {"orders_obt", "fact_orders", "customers_snapshot", "countries"}
    assert catalog["fact_orders"]["revenue_amount"] == "numeric(12,2)"
    assert project.lineage_of_catalog(three.redshift) >= REVENUE
    freshness = project.dbt(three.redshift, "source", "freshness")
    # Asked of all, and months old.
    tables = {"customers", "employees", "offices", "orderdetails", "orders", "payments"}
    assert {freshness.statuses[table] for table in tables} == {"error"}


@pytest.mark.long
def test_a_contract_that_is_broken_is_refused(three: Three, project: Project) -> None:
    edit = ("models/marts/core/fact_payments.yml", "- name: payment_amount\n", "- name: amount\n")
    with project.edited([edit]):
        outcome = project.dbt(three.redshift, "run", "-s", "fact_payments")
    assert not outcome.green
    assert "contract" in str(outcome)


@pytest.mark.long
def test_what_redshift_lacks_is_refused_in_a_build(three: Three, project: Project) -> None:
    edit = ("models/marts/core/fact_payments.sql", "payments.payment_amount,", "every(true),")
    with project.edited([edit]):
        outcome = project.dbt(three.redshift, "run", "-s", "fact_payments")
    assert outcome.failed == {"fact_payments"}
    assert "Redshift has no every()" in outcome.messages["fact_payments"]


# -- the shim -------------------------------------------------------------------------------------


@pytest.fixture
def connect(shim: Shim, postgres: PostgresServer) -> Iterator[Callable[[], Any]]:
    """Opens connections of the driver to a fresh database."""
    database = own("shim")
    postgres.create_database(database)
    prepare(postgres, database)
    opened: list[Any] = []

    def connect() -> Any:
        connection = redshift_connector.connect(
            host=HOST,
            port=shim.port,
            database=database,
            user=postgres.user,
            password=postgres.password,
            ssl=False,
        )
        opened.append(connection)
        return connection

    yield connect
    for connection in opened:
        with suppress(RedshiftError):
            connection.close()


def ask(connection: Any, sql: str, parameters: Any = None) -> Any:
    with closing(connection.cursor()) as cursor:
        cursor.execute(sql, parameters)
        return [tuple(row) for row in cursor.fetchall()] if cursor.description else cursor.rowcount


def test_it_says_that_it_is_redshift(connect: Callable[[], Any]) -> None:
    ((version,),) = ask(connect(), "select version()")
    assert version.startswith("PostgreSQL 8.0.2") and "Redshift 1.0." in version


def test_a_wrong_password_is_refused(shim: Shim, postgres: PostgresServer) -> None:
    with pytest.raises(RedshiftError, match="password authentication failed"):
        redshift_connector.connect(
            host=HOST,
            port=shim.port,
            database="postgres",
            user=postgres.user,
            password="no",
            ssl=False,
        )


def test_encryption_is_asked_for_and_not_there(shim: Shim, postgres: PostgresServer) -> None:
    with pytest.raises(RedshiftError, match="SSL"):
        redshift_connector.connect(
            host=HOST, port=shim.port, database="postgres", user=postgres.user, password="no"
        )


def test_parameters_and_types(connect: Callable[[], Any]) -> None:
    connection = connect()
    ask(
        connection,
        "create table t (a integer encode az64, b varchar(max), c numeric(12, 2), d timestamp)"
        " diststyle key distkey (a) compound sortkey (a, b)",
    )
    moment = datetime(2026, 6, 1, 6, 30, 0, 120)
    rows = [(1, "it's", Decimal("1.10"), moment), (2, None, None, None)]
    assert (
        ask(connection, "insert into t values (%s, %s, %s, %s), (%s, %s, %s, %s)", sum(rows, ()))
        == 2
    )
    assert ask(connection, "select * from t order by a") == rows


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("dateadd(day, 1, cast('2024-02-28' as timestamp))", datetime(2024, 2, 29)),
        ("dateadd(month, -1, cast('2024-03-31' as date))", datetime(2024, 2, 29)),
        ("datediff(day, cast('2024-02-28' as date), cast('2024-03-01' as date))", 2),
        ("datediff(year, cast('2023-12-31' as date), cast('2024-01-01' as date))", 1),
        ("datediff(month, cast('2024-01-31' as date), cast('2024-02-01' as date))", 1),
        ("len('größe')", 5),
        ("strtol('fffffffffffffff', 16)", 2**60 - 1),
        ("cast('x' as text)", "x"),
        ("len(cast(repeat('x', 300) as text))", 256),
        ("'dateadd(day, 1, sysdate) with no schema binding'",) * 2,
        ("sysdate <= getdate() + interval '1 second'", True),
    ],
)
def test_what_only_redshift_knows(sql: str, value: object, connect: Callable[[], Any]) -> None:
    if isinstance(value, str):
        value = value.strip("'")
    assert ask(connect(), f"select {sql}") == [(value,)]


def test_listagg(connect: Callable[[], Any]) -> None:
    connection = connect()
    ask(connection, "create table t (a integer, b varchar(9))")
    ask(connection, "insert into t values (2, 'two'), (1, 'one'), (3, null)")
    sql = "listagg(b, ', ') within group (order by a), listagg(b) within group (order by a desc)"
    assert ask(connection, f"select {sql} from t") == [("one, two", "twoone")]


def test_a_refusal_fails_the_transaction(connect: Callable[[], Any]) -> None:
    connection = connect()
    ask(connection, "create table t (a integer)")
    connection.commit()
    ask(connection, "insert into t values (1)")
    with pytest.raises(ProgrammingError, match="Redshift has no generate_series"):
        ask(connection, "insert into t select * from generate_series(1, 3)")
    with pytest.raises(ProgrammingError, match="transaction is aborted"):
        ask(connection, "select 1")
    connection.rollback()
    assert ask(connection, "select count(*) from t") == [(0,)]


# -- copy -----------------------------------------------------------------------------------------

Put = Callable[[str, pa.Table], int]
ROLE = "iam_role 'arn:aws:iam::123456789012:role/copy'"
SCHEMA = pa.schema(
    [
        ("a", pa.int32()),
        ("b", pa.string()),
        ("c", pa.decimal128(12, 2)),
        ("d", pa.timestamp("us")),
        ("e", pa.bool_()),
        ("f", pa.date32()),
        ("g", pa.binary()),
    ]
)
ROWS = [
    (
        1,
        "it's $1 \\ \n ü",
        Decimal("1.10"),
        datetime(2026, 6, 1, 6, 30, 0, 120),
        True,
        date(1, 1, 1),
        b"\0\xff",
    ),
    (2, "", Decimal("-0.01"), datetime(1900, 1, 1), False, date(9999, 12, 31), b""),
    (3, None, None, None, None, None, None),
]


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> Iterator[Put]:
    """Puts a table into a bucket of a private S3, as Parquet; returns its size in bytes."""
    server = ThreadedMotoServer(ip_address=HOST, port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    requests.post(
        f"http://{host}:{port}/moto-api/reset", timeout=10
    )  # it keeps all in this process
    s3 = boto3.client("s3", region_name="us-east-1")
    s3.create_bucket(Bucket="bucket")

    def put(key: str, table: pa.Table | bytes) -> int:
        body = table
        if isinstance(table, pa.Table):
            target = BytesIO()
            pq.write_table(table, target)
            body = target.getvalue()
        s3.put_object(Bucket="bucket", Key=key, Body=body)
        return len(body)

    yield put
    server.stop()


@pytest.fixture
def table(connect: Callable[[], Any]) -> Any:
    """A connection in a transaction that made a table for ROWS."""
    connection = connect()
    columns = "b varchar(20), c numeric(12, 2), d timestamp, e boolean, f date, g varbyte(10)"
    ask(connection, f"create temporary table t (a integer, {columns})")
    return connection


def part(*rows: tuple[Any, ...]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in rows], SCHEMA)


def test_copy_brings_every_value(put: Put, table: Any) -> None:
    put("load/1.parquet", part(*ROWS[:2]))
    put("load/2.parquet", part(*ROWS[2:]))
    ask(table, f"copy t from 's3://bucket/load/' {ROLE} format as parquet")
    expected = [(*row, None if value is None else value.hex()) for *row, value in ROWS]
    assert ask(table, "select a, b, c, d, e, f, to_hex(g) from t order by a") == expected
    assert ask(table, "select pg_last_copy_count()") == [(3,)]
    table.rollback()  # of the copy too
    with pytest.raises(ProgrammingError, match="does not exist"):
        ask(table, "select * from t")


def test_copy_by_a_list_of_columns_and_a_manifest(put: Put, table: Any) -> None:
    size = put("one", part(ROWS[0]).select(["b", "a"]))
    put("two", part(ROWS[1]).select(["b", "a"]))
    entry = {"url": "s3://bucket/one", "mandatory": True, "meta": {"content_length": size}}
    put("manifest", json.dumps({"entries": [entry]}).encode())
    ask(table, f'copy t ("b", "a") from \'s3://bucket/manifest\' {ROLE} format parquet manifest')
    assert ask(table, "select a, b, c from t") == [(*ROWS[0][:2], None)]


@pytest.mark.parametrize(
    ("statement", "change", "why"),
    [
        ("copy t from 's3://bucket/x' {} format parquet", None, "'x' does not exist"),
        ("copy t from 's3://bucket/load' format parquet", None, "needs an IAM role"),
        (
            "copy t from 's3://bucket/load' {} format parquet compupdate off",
            None,
            "not support: comp",
        ),
        ("copy t from 's3://bucket/load' {} csv", None, "csv"),
        ("copy t from 's3://bucket/load' {} format parquet", ("drop", "g"), "has 6 columns"),
        ("copy t (a, b) from 's3://bucket/load' {} format parquet", None, "has 7 columns"),
        ("copy t from 's3://bucket/load' {} format parquet", ("cast", pa.int64()), "has bigint"),
        (
            "copy t from 's3://bucket/load' {} format parquet",
            ("text", "ü" * 11),
            "longer than 20 bytes",
        ),
    ],
)
def test_copy_refuses_what_redshift_would(
    statement: str, change: Any, why: str, put: Put, table: Any
) -> None:
    rows = part(*ROWS)
    match change:
        case ("drop", name):
            rows = rows.drop_columns([name])
        case ("cast", kind):
            rows = rows.set_column(0, "a", rows["a"].cast(kind))
        case ("text", value):
            rows = part((4, value, None, None, None, None, None))
    put("load", rows)
    with pytest.raises(ProgrammingError, match=why):
        ask(table, statement.format(ROLE))


# -- macros of macros/cross_db --------------------------------------------------------------------

MACROS = [
    ("integer_divide('7', '2')", 3),
    ("integer_divide('cast(19999999998 as bigint)', '2')", 9999999999),
    ("'cast(' ~ \"'\" ~ 'x' * 300 ~ \"'\" ~ ' as ' ~ type_text() ~ ')'", "x" * 300),
    ("'cast(' ~ \"'\" ~ 'x' * 300 ~ \"'\" ~ ' as ' ~ dbt.type_string() ~ ')'", "x" * 300),
    ("dbt.hash(\"'\" ~ 'x' * 300 ~ \"'\")", md5(b"x" * 300).hexdigest()),
]


@pytest.mark.long
@pytest.mark.parametrize("target", ["duckdb", "postgres", "redshift"])
def test_each_macro_means_the_same_everywhere(target: str, project: Project, three: Three) -> None:
    warehouse = next(w for w in (three.redshift, *three.others) if w.target == target)
    columns = ", ".join(f"{{{{ {macro} }}}} as c{n}" for n, (macro, _) in enumerate(MACROS))
    assert project.shown(warehouse, f"select {columns}") == [tuple(value for _, value in MACROS)]


@pytest.mark.long
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("duckdb", (0, "")),
        ("postgres", (2, "set local jit = off; set local work_mem = 32MB")),
        ("redshift", (0, "")),
    ],
)
def test_only_postgres_gets_what_it_alone_has(
    target: str, expected: tuple[int, str], project: Project, three: Three
) -> None:
    warehouse = next(w for w in (three.redshift, *three.others) if w.target == target)
    macros = (
        "{{ index_on(['one', 'two']) | length }} as indexes,"
        """ '{{ session_settings().split() | join(" ") | replace("'", "") }}' as hook"""
    )
    assert project.shown(warehouse, f"select {macros}") == [expected]
