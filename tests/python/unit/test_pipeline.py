"""The pipeline's parts: which module imports dbt, which warehouses exist, what a build prints."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from types import CodeType

import duckdb
import pytest

from loader import DuckDBDestination, PostgresDestination, UsageError
from loader.config import TARGETS
from loader.destinations import open_destination
from pipeline.dbt_runner import Found, Parsed, Result, read_output
from pipeline.findings import warning_lines, written
from pipeline.profile import read_plain_output, read_profile
from pipeline.settings import BuildError, given_settings
from pipeline.summary import (
    Figure,
    accepted_lines,
    accepted_rows,
    count_line,
    failure_paragraphs,
    figures_query,
    freshness_line,
    rebuilt_lines,
    written_line,
)
from pipeline.warehouse import WAREHOUSES, DuckDB, Postgres, Redshift, Warehouse, WarehouseError
from support.clone import REPO

CODE = ("loader", "pages", "pipeline", "sample_shop", "scripts", "tools")
LOGIN = {"host": "shop.example", "port": 5432, "user": "u", "password": "p"}


def imported(file: Path) -> set[str]:
    """The top-level packages that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return {name.partition(".")[0] for name in found}


def test_one_package_alone_imports_dbt() -> None:
    files = [file for folder in CODE for file in (REPO / folder).rglob("*.py")]
    found = {
        file.relative_to(REPO).parts[:2]
        for file in files
        if imported(file) & {"dbt", "dbt_common", "dbt_adapters"}
    }
    assert found == {("pipeline", "dbt_runner")}


def test_a_build_starts_without_what_is_slow_to_import() -> None:
    slow = {"dbt", "dbt_common", "requests", "duckdb", "psycopg", "pymysql", "pyarrow"}
    code = f"import sys, pipeline.build; print(*{slow} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")


# -- warehouses -----------------------------------------------------------------------------------


PLAIN = [
    ("duckdb", {}),
    ("duckdb", {"DUCKDB_PATH": "../a.b/my shop.v2.db"}),
    ("postgres", {"PGHOST": "", "PGUSER": "ann", "PGPASSWORD": "p{%", "PGPORT": "6543"}),
    (None, {"TARGET": "postgres", "USER": "ben", "PGDATABASE": "w"}),
]


@pytest.mark.parametrize(("name", "variables"), PLAIN)
def test_a_plain_profile_is_read_as_dbt_reads_it(
    name: str | None, variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in [v for v in os.environ if v.startswith("PG")] + ["TARGET", "DUCKDB_PATH"]:
        monkeypatch.delenv(variable, raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    shutil.copyfile(REPO / "profiles.example.yml", tmp_path / "profiles.yml")
    plain = read_plain_output(read_profile(tmp_path, "classicmodels") or {}, name)
    by_dbt = read_output(REPO, tmp_path, name)
    assert plain
    for found in ("name", "kind", "schema", "database", "is_default"):
        assert getattr(plain, found) == getattr(by_dbt, found)
    kind = WAREHOUSES[plain.kind]
    assert kind.connection_of(plain, set()) == kind.connection_of(by_dbt, set())


@pytest.mark.parametrize(("given", "limit"), [("", "2500MB"), ("1GB", "1GB")])
def test_the_memory_of_duckdb_is_a_setting(
    given: str, limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUCKDB_MEMORY_LIMIT", given)
    shutil.copyfile(REPO / "profiles.example.yml", tmp_path / "profiles.yml")
    assert read_output(REPO, tmp_path, "duckdb").settings["settings"]["memory_limit"] == limit


@pytest.mark.parametrize(
    "output",
    [
        {"type": "duckdb", "schema": "main", "path": ":memory:"},
        {"type": "duckdb", "schema": "main", "path": "md:shop"},
        {"type": "duckdb", "schema": "main", "path": "w.duckdb", "database": "other"},
        {"type": "duckdb", "schema": "main", "path": "w.duckdb", "attach": [{"path": "x"}]},
        {"type": "duckdb", "schema": "main", "path": "{{ env_var('NOT_SET_ANYWHERE') }}"},
        {"type": "duckdb", "schema": "main", "path": "{{ env_var('HOME') | upper_case }}"},
        {"type": "duckdb", "schema": "main", "path": "{{ none }}"},
        {"type": "duckdb", "path": "w.duckdb"},
        {"type": "postgres", "host": "h", "user": 1, "password": "p", "port": 1, "schema": "s",
         "dbname": "d"},
        {"type": "postgres", "host": "h", "user": "u", "password": "p", "port": "1", "schema": "s",
         "dbname": "d"},
        {"type": "redshift", "host": "h"},
        "not fields",
    ],
)  # fmt: skip
def test_what_only_dbt_can_read_is_left_to_dbt(output: object) -> None:
    profile = {"target": "one", "outputs": {"one": output}}
    assert read_plain_output(profile, None) is None


def test_a_parsed_project_is_taken_for_the_same_code_only(tmp_path: Path) -> None:
    from dbt.contracts.graph.manifest import Manifest

    manifest = Manifest()
    manifest.metadata.project_name = "shop"
    assert manifest.ref_lookup is not None  # made when it is first asked for, and kept
    parsed = Parsed(tmp_path / "made" / "parsed.pickle", "this code")
    assert parsed.read() is None
    parsed.write(manifest)
    found = parsed.read()
    assert found.metadata.project_name == "shop"
    assert found.ref_lookup.find("orders", None, None, found) is None
    assert Parsed(parsed.path, "other code").read() is None
    parsed.write_made(
        {"a template": compile("1 + 1", "", "eval")},
        {"a class": {"type": "object"}, "no": object()},
    )
    codes: dict[str, CodeType] = {}
    schemas: dict[str, object] = {"another": {}}
    Parsed(parsed.path, "other code").read_made(codes, schemas)
    assert not codes
    parsed.read_made(codes, schemas)
    assert eval(codes["a template"]) == 2
    assert schemas == {"another": {}, "a class": {"type": "object"}}
    for path in parsed.path.parent.iterdir():
        path.write_bytes(path.read_bytes()[:-10])
    assert parsed.read() is None
    codes.clear()
    parsed.read_made(codes, schemas)
    assert not codes
    parsed.forget()
    assert not parsed.path.exists()


def test_loader_and_pipeline_know_the_same_warehouses() -> None:
    assert tuple(WAREHOUSES) == TARGETS


@pytest.mark.parametrize(
    ("warehouse", "place", "dialect"),
    [
        (DuckDB("dev", "main", {"path": "shop.duckdb"}), "shop.duckdb", "duckdb"),
        (
            Postgres("dev", "public", LOGIN | {"dbname": "dwh"}),
            "shop.example:5432/dwh",
            "postgresql+psycopg2",
        ),
        (Redshift("dev", "public", LOGIN | {"database": "dwh"}), "shop.example:5432/dwh", ""),
    ],
    ids=["duckdb", "postgres", "redshift"],
)
def test_a_warehouse_says_where_it_is_without_its_password(
    warehouse: Warehouse, place: str, dialect: str
) -> None:
    assert (warehouse.place, warehouse.dialect, warehouse.marts) == (place, dialect, "marts")
    assert "'p'" not in repr(warehouse)
    assert not warehouse.is_made_here


def test_a_sandbox_has_schemas_of_its_own() -> None:
    assert DuckDB("dev", "ann", {"path": "shop.duckdb"}).marts == "ann_marts"


def test_the_dashboards_log_in_as_their_reader() -> None:
    warehouse = Postgres("dev", "public", LOGIN | {"dbname": "dwh"})
    reader = warehouse.for_reader({"BI_PGUSER": "rea", "BI_PGPASSWORD": ""})
    assert reader.connection == {**LOGIN, "dbname": "dwh", "user": "rea"}
    path = DuckDB("dev", "main", {"path": "shop.duckdb"}).for_reader({}).place
    assert path == str(Path("shop.duckdb").resolve())


def test_a_warehouse_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    absent = DuckDB("dev", "main", {"path": str(tmp_path / "none.duckdb")})
    with pytest.raises(WarehouseError, match=r"^There is no warehouse .*none\.duckdb\.$"):
        absent.reading().__enter__()
    path = tmp_path / "empty.duckdb"
    duckdb.connect(str(path)).close()
    empty = DuckDB("dev", "main", {"path": str(path)})
    said = r"^The warehouse .*empty\.duckdb cannot be read: .*no_such_table.*\.$"
    with pytest.raises(WarehouseError, match=said), empty.reading() as ask:
        ask("select * from no_such_table")
    assert empty.ask("select * from no_such_table") == absent.ask("select 1") == []
    assert empty.ask("select 1") == [(1,)]


def test_each_kind_of_warehouse_has_its_destination() -> None:
    duckdb_file = DuckDB("dev", "main", {"path": "shop.duckdb"}).destination("raw")
    assert isinstance(duckdb_file, DuckDBDestination)
    database = Postgres("dev", "public", LOGIN | {"dbname": "dwh"}).destination("raw")
    assert isinstance(database, PostgresDestination)
    with pytest.raises(UsageError, match="oracle is unknown: use duckdb or postgres or redshift"):
        open_destination("oracle", "raw", {})


# -- what a build prints ---------------------------------------------------------------------------


def test_a_build_counts_what_was_built_and_how_tests_went() -> None:
    results = [
        Result("a", "model", "success"),
        Result("b", "model", "skipped"),
        Result("c", "seed", "success"),
        Result("d", "test", "pass"),
        Result("e", "unit_test", "fail"),
        Result("f", "test", "warn"),
    ]
    assert count_line(results) == "1 model, 1 seed; 1 of 3 tests passed, 1 fail, 1 skipped, 1 warn"
    sources = [Result("new", "source", "pass"), Result("old", "source", "error")]
    assert freshness_line(sources) == "1 of 2 sources are fresh; not: old"


def test_rows_written_are_shown_only_where_all_were_counted() -> None:
    def model(rows: int | None) -> Result:
        return Result("a", "model", "success", is_incremental=True, rows_written=rows)

    view = Result("v", "model", "success")
    assert written_line([model(3), model(0), view]) == (
        "3 rows of the marts were changed, new or gone"
    )
    assert written_line([model(0), view]) == "nothing has changed: no row of any mart was written"
    assert written_line([model(3), model(None)]) == ""
    message = "rebuilt because its columns changed: new column phone"
    rebuilt = Result("b", "model", "success", message=message, was_rebuilt=True)
    assert rebuilt_lines([model(3), rebuilt]) == [f"b was {message}"]


def test_each_failure_says_how_to_look_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TARGET", "postgres")
    failed = [
        Result("t", "test", "fail", 0, "Got 1", "Says why.", "tests/t.sql", "target/t.sql", "t"),
        Result("m", "model", "error", 0, "no\n\n  column", "", "models/m.sql", "", "m"),
        Result("s", "source", "warn", 0, "", "", "s.yml", "", "source:shop.s"),
        Result("n", "model", "skipped"),
        Result("p", "test", "pass"),
    ]
    assert failure_paragraphs(failed) == [
        [
            "FAILED  test t (tests/t.sql)",
            "    Says why.",
            "    Got 1",
            "    rows:  TARGET=postgres dbt test -s t --store-failures",
            "    query: target/t.sql",
        ],
        [
            "FAILED  model m (models/m.sql)",
            "    no",
            "    column",
            "    again: TARGET=postgres dbt build -s m",
        ],
        [
            "WARNING  source s (s.yml)",
            "    again: TARGET=postgres dbt source freshness -s source:shop.s",
        ],
    ]
    many = [Result("w", "test", "warn"), *(Result(str(n), "test", "fail") for n in range(11))]
    # Errors first, and nothing without a line.
    assert failure_paragraphs(many)[-1] == ["FAILED  test 10 ()", "WARNING  test w ()"]


def test_each_warning_says_how_many_rows_and_how_much_money() -> None:
    found = Found(4, Decimal("1234.5"), ["order_number 10100, amount 1200.5"])
    warned = Result("w", "test", "warn", 0, "Got 4", "Warns of odd orders. Why.", found=found)
    assert failure_paragraphs([warned])[0][:4] == [
        "WARNING  test w: 4 rows, 1,234.50 USD ()",
        "    Warns of odd orders. Why.",
        "    order_number 10100, amount 1200.5",
        "    ... and 3 more",
    ]
    one = Result("rows", "test", "warn", found=Found(1))
    source = Result("payments", "source", "warn", description="One row per payment.")
    assert warning_lines([warned, one, source, Result("t", "test", "fail")]) == [
        "Odd orders: 4 rows, 1,234.50 USD",
        "Rows: 1 row",
        "The source payments is not fresh",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("894728.3"), "894728.30"),
        (Decimal("10100"), "10100"),
        (Decimal("0E+2"), "0"),
        (Decimal("0.1250"), "0.125"),
        (datetime(2026, 11, 20), "2026-11-20"),
        (datetime(2026, 11, 20, 14, 5), "2026-11-20 14:05:00"),
        ("USA", "USA"),
    ],
)
def test_values_of_rows_are_written_plainly(value: object, text: str) -> None:
    assert written(value) == text


def test_accepted_rows_are_listed() -> None:
    figures = [
        Figure("accepted", "t, order_number=1: known", Decimal()),
        Figure("rows", "m", Decimal(1)),
    ]
    assert accepted_lines(accepted_rows(figures))[1:] == ["    t, order_number=1: known"]
    assert accepted_lines([]) == []


@pytest.mark.parametrize(("is_proven", "counted"), [(True, "fact_orders"), (False, "orders_obt")])
def test_a_view_is_counted_by_its_table_where_tests_have_passed(
    is_proven: bool, counted: str
) -> None:
    schemas = {"marts": "m", "seeds": "s"}
    query = figures_query(["fact_orders", "orders_obt"], schemas, is_proven=is_proven)
    for name, table in (("fact_orders", "fact_orders"), ("orders_obt", counted)):
        assert f"'{name}' as name, count(*) as figure from m.{table}\n" in query


# Else the server would refuse each query, and what is asked of the warehouse would seem not there.
@pytest.mark.parametrize("given", ["64mb", "64", "64M", "0MB", "a lot"])
def test_memory_that_postgresql_would_not_take_is_refused_before_the_load(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTGRES_WORK_MEM", given)
    with pytest.raises(BuildError, match=f"POSTGRES_WORK_MEM is a number .* not {given}."):
        given_settings()
    monkeypatch.setenv("POSTGRES_WORK_MEM", "64MB")
    given_settings()
