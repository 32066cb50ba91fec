"""What the project would send to Redshift, without a Redshift: every statement of every build."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from support.dialect import refusals, traps
from support.offline import Nowhere, Unbuilt, connected_to
from support.one_run import own
from support.project import DuckDBWarehouse, PostgresWarehouse, Project

# What each of them has to be told about, by what is said of it.
FORBIDDEN = {
    "generate_series()": "select * from generate_series(1, 10)",
    "string_agg()": "select string_agg(a, ',') from t",
    "array_agg()": "select array_agg(a) from t",
    "every()": "select every(a) from t",
    "regexp_matches()": "select regexp_matches(a, 'x') from t",
    "format()": "select format('%s', a) from t",
    "unnest()": "select unnest(a) from t",
    "clock_timestamp()": "select clock_timestamp()",
    "div()": "select div(a, b) from t",
    "json_build_object()": "select json_build_object('a', a) from t",
    "is [not] distinct from": "select * from a left join b on a.x is not distinct from b.x",
    "filter clause": "select sum(a) filter (where b) from t",
    "lateral": "select * from a, lateral (select * from b where b.x = a.x) as c",
    "distinct on": "select distinct on (a) a, b from t",
    "returning": "delete from t where a = 1 returning a",
    "on conflict": "insert into t (a) values (1) on conflict do nothing",
    "create index": "create index on t (a)",
    "create sequence": "create sequence s",
    "system column ctid": "delete from t where ctid = '(0,1)'",
    "tablesample": "select * from t tablesample bernoulli (10)",
    "correlated subquery": "select (select max(b.y) from b where b.x = a.x) as y from a",
    "type interval": "select a + '1 day'::interval from t",
    "type json": "select cast(a as json) from t",
    "type jsonb": "select cast(a as jsonb) from t",
    "type uuid": "create table t (a uuid)",
    "type array": "create table t (a integer[])",
    "type bytea": "create table t (a bytea, b integer)",
    "type serial": "create table t (a serial)",
    "type money": "create table t (a money)",
    "array constructor": "select array[1, 2] from t",
    "operator ->>": "select a ->> 'b' from t",
    "select ... for update": "select * from t for update",
    "values list as a table": "select * from (values (1), (2)) as t (a)",
    "except all": "select a from t except all select a from u",
    "with before insert": "with a as (select 1 as x) insert into t select x from a",
    "create or replace table": "create or replace table t (a integer)",
    "create view if not exists": "create view if not exists v as select 1 as a",
    "several columns in one alter table": "alter table t add a integer, add b integer",
    "aggregate over an ordered window": "select sum(a) over (order by b) from t",
    "range in a window's frame": (
        "select sum(a) over (order by b range between 1 preceding and current row) from t"
    ),
    "count(distinct) of several columns": "select count(distinct a, b) from t",
    "reserved word snapshot as a name": "select a as snapshot from t",
    "such syntax": "select from where",
}
TRAPS = {
    "text without a length": "select cast(a as text) from t",
    "varchar without a length": "select cast(a as varchar) from t",
    "numeric without a precision": "select cast(a as numeric) from t",
}
ALLOWED = """
select a, listagg(b, ',') within group (order by c) from t group by a;
select row_number() over (partition by a order by b), sum(c) over (partition by a) from t;
select sum(a) over (order by b rows between unbounded preceding and current row) from t;
select nvl(a, 0), dateadd(day, 1, b), datediff(day, b, getdate()), c || 'string_agg(x)' from t;
create table t (a varchar(65535) encode zstd, b integer) diststyle key distkey (a) sortkey (a, b);
insert into t (a, b) values ('x', 1), ('y', $1);
delete from t where a in (select u.a from u);
create view v as select a from s.t with no schema binding;
select "snapshot", t.oid from t
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


@pytest.fixture(
    scope="module",
    params=[
        (True, False),
        pytest.param((False, False), marks=pytest.mark.long),
        # Tests are the same on a warehouse that is there.
        pytest.param((True, True), marks=pytest.mark.long),
    ],
    ids=["later build", "first build", "later build with tests"],
)
def build(request: pytest.FixtureRequest, project: Project) -> tuple[Nowhere, dict[str, str]]:
    """What dbt sent, and the SQL of each model, snapshot and test by name."""
    existing, tested = request.param
    place = Nowhere(project.manifest(Unbuilt()), existing=existing)
    with connected_to(place), pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUILT_THROUGH", "2026-11-20 08:00:00" if existing else "")
        only = () if tested else ("--exclude-resource-type", "test", "unit_test")
        result = project.built(Unbuilt(), *only)
    bad = {f.node.name: f.message for f in result.result if f.status in ("error", "fail")}
    assert bad == {}
    return place, {
        found.node.name: found.node.compiled_code
        for found in result.result
        if found.node.resource_type in ("model", "snapshot", "test") and found.node.compiled_code
    }


def test_redshift_has_what_a_build_asks_for(build: tuple[Nowhere, dict[str, str]]) -> None:
    place, _ = build
    found = {sql: asked for sql in set(place.statements) if (asked := refusals(sql))}
    assert found == {}


def test_a_build_comes_to_every_branch(build: tuple[Nowhere, dict[str, str]]) -> None:
    place, compiled = build
    sent = " ".join(" ".join(place.statements).split())
    later = place.existing
    assert ("__changes" in sent) == later  # what both strategies write
    assert ("except select product_version_key from" in sent) == later  # whole
    assert ("where product_code in (select product_code" in sent) == later  # of changed keys
    assert ("changed_products" in compiled["dim_products"]) == later
    assert ("dbt_is_deleted" in sent) and ("update " in sent) == later  # snapshots
    assert ('from "dev"."snapshots"."customers_snapshot" as known' in sent) == later  # of some keys
    assert ("where order_number in ('10100')" in compiled["fact_orders"]) == later  # by name
    assert ('delete from "dev"."marts"."fact_payments" where' in sent) == later  # by tombstones
    assert "diststyle" in sent and "with no schema binding" in sent


def test_no_value_is_cut_off(build: tuple[Nowhere, dict[str, str]]) -> None:
    _, compiled = build
    # Not in unit tests, whose rows dbt gives types of its own.
    found = {name: met for name, sql in compiled.items() if (met := traps(sql))}
    assert found == {}


def test_an_offline_build_opens_no_connection(project: Project) -> None:
    connects = pytest.raises(AssertionError, match="opened a connection")
    with connected_to(Nowhere({"nodes": {}}, existing=False)), connects:
        socket.create_connection(("127.0.0.1", 9))


@pytest.mark.parametrize("asked", FORBIDDEN)
def test_each_forbidden_construct_is_caught(asked: str) -> None:
    assert [found for found in refusals(FORBIDDEN[asked]) if found.startswith(asked)]


@pytest.mark.long
def test_a_forbidden_construct_in_a_model_is_caught(project: Project) -> None:
    edit = ("models/marts/core/fact_payments.sql", "payments.payment_amount,", "every(true),")
    with project.edited([edit]):
        place = Nowhere(project.manifest(Unbuilt()), existing=False)
        with connected_to(place):
            project.built(Unbuilt(), "--select", "fact_payments")
    assert "every()" in {asked for sql in set(place.statements) for asked in refusals(sql)}


@pytest.mark.parametrize("met", TRAPS)
def test_each_trap_is_caught(met: str) -> None:
    assert traps(TRAPS[met]) == [met]


def test_what_redshift_has_is_allowed() -> None:
    assert refusals(ALLOWED) == []


@pytest.mark.long
def test_sqlfluff_reads_the_models_as_redshifts(
    build: tuple[Nowhere, dict[str, str]], tmp_path: Path
) -> None:
    place, compiled = build
    if not place.existing:
        pytest.skip("a later build has all that a first build has")
    for name, sql in compiled.items():
        (tmp_path / f"{name}.sql").write_text(f"{sql.strip()}\n", "utf-8")
    # Layout is that of the sources; here it counts whether the dialect knows what is there.
    command = "sqlfluff lint --dialect redshift --templater raw --rules convention.terminator"
    command += " --ignore-local-config --processes 2 --disable-progress-bar"
    done = subprocess.run(
        [sys.executable, "-m", *command.split(), str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
@pytest.mark.parametrize(
    "kind",
    ["duckdb", "postgres", "redshift"],
)
def test_the_project_parses_without_a_warning(
    kind: str, project: Project, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    warehouses = {
        "duckdb": lambda: DuckDBWarehouse(tmp_path / "w.duckdb"),
        "postgres": lambda: PostgresWarehouse(request.getfixturevalue("postgres"), own("parse")),
        "redshift": Unbuilt,
    }
    warehouse = warehouses[kind]()
    assert project.parses(warehouse) == ""
    # As dbt had it before 1.10.
    edit = ("seeds/_seeds.yml", "          arguments:\n            columns:", "          columns:")
    with project.edited([edit]):
        assert "MissingArgumentsPropertyInGenericTestDeprecation" in project.parses(warehouse)
