"""The project's macros beside dbt's own: what they replace, and what the strategies do."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from pathlib import Path
from typing import Any

import dbt.include
import duckdb
import psycopg
import pytest
from dbt.cli.main import dbtRunner

from support.clone import REPO
from support.one_run import own
from support.project import (
    DuckDBWarehouse,
    PostgresWarehouse,
    Project,
    Warehouse,
    project_without_models,
)
from tools.servers import PostgresServer

# -- what is replaced -----------------------------------------------------------------------------

# What the project replaces of dbt, by the name of the macro without an adapter; what else of dbt it
# relies on; and a hash of dbt's text of both. Another hash: dbt has changed them. Compare with the
# project's macro, then note the new hash here.
REPLACED: dict[str, tuple[tuple[str, ...], str]] = {
    "apply_grants": ((), "573974b067ff08ba"),
    "create_table_as": (
        ("table_columns_and_constraints", "get_select_subquery"),
        "7981b200e3e3a897",
    ),
    "drop_table": (("drop_relation", "get_drop_sql"), "3532e335788c1e8a"),
    "generate_schema_name": ((), "6f379627c937f6f6"),
    "generate_series": ((), "bf6ec829e3819d39"),
    "get_test_sql": ((), "8b2f3ad2a5679d0e"),
    "get_where_subquery": ((), "3b505437b2480c70"),
    "hash": ((), "ef821bf40ae8e7fb"),
    "process_schema_changes": ((), "446a09b4b5ca89ce"),
    "should_full_refresh": (("is_incremental",), "6dc98d9597a0f147"),
    "snapshot_get_time": (("snapshot_check_strategy",), "038d746fe6e28009"),
    "snapshot_staging_table": (("build_snapshot_staging_table",), "ba2267517b36d646"),
    "type_string": ((), "11d3cad2c13ffe91"),
}
MACRO = re.compile(
    r"\{%-?\s*macro\s+(?:(?:default|duckdb|postgres|redshift)__)?(\w+).*?endmacro\s*-?%\}",
    re.DOTALL,
)


def macros_in(folder: Path) -> list[tuple[str, str]]:
    """Each macro's name, without its adapter, and its text without layout."""
    return sorted(
        (found[1], " ".join(found[0].split()))
        for path in sorted(folder.rglob("*.sql"))
        for found in MACRO.finditer(path.read_text("utf-8"))
    )


def dbts_macros() -> list[tuple[str, str]]:
    """The macros of dbt and of the three adapters, as they are installed."""
    folders = [Path(found) for found in dbt.include.__path__]
    packages = ("global_project", "duckdb", "postgres", "redshift")
    found = [
        m for folder in folders for name in packages for m in macros_in(folder / name / "macros")
    ]
    assert len(found) > 500
    return found


def test_nothing_of_dbt_is_replaced_unseen() -> None:
    ours = {name for name, _ in macros_in(REPO / "macros")}
    assert ours & {name for name, _ in dbts_macros()} == set(REPLACED)


@pytest.mark.parametrize("name", REPLACED)
def test_what_is_replaced_is_as_it_was_when_it_was_replaced(name: str) -> None:
    others, known = REPLACED[name]
    texts = [text for found, text in dbts_macros() if found in (name, *others)]
    assert hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16] == known, "\n".join(texts)


@pytest.mark.parametrize("name", REPLACED)
def test_what_replaces_says_what_it_relies_on(name: str) -> None:
    (file,) = {
        path
        for path in (REPO / "macros").rglob("*.sql")
        if any(found == name for found, _ in macros_in_file(path))
    }
    first = file.read_text("utf-8").partition("-#}")[0]
    assert re.match(r"\{#- (In place of|Adds to) dbt's .*; relies on ", first), first


def macros_in_file(path: Path) -> list[tuple[str, str]]:
    return [(found[1], found[0]) for found in MACRO.finditer(path.read_text("utf-8"))]


def test_dbt_drops_what_was_replaced_after_its_commit() -> None:
    """drop_table relies on it: only then is each statement a transaction of its own."""
    place = Path("global_project", "macros", "materializations", "models")
    (models,) = (path for found in dbt.include.__path__ if (path := found / place).is_dir())
    for path in (models / "incremental" / "incremental.sql", models / "table.sql"):
        text = path.read_text("utf-8")
        commit = text.index("adapter.commit()")
        dropped = re.search(
            r"adapter\.drop_relation\(rel\)|\{\{ drop_relation_if_exists\(backup", text
        )
        assert dropped and dropped.start() > commit, path


def test_generic_tests_read_through_the_where_subquery(bare: Project, marts: Marts) -> None:
    nodes = bare.manifest(marts.store)["nodes"].values()
    (test,) = [node for node in nodes if node["resource_type"] == "test"]
    assert test["test_metadata"]["kwargs"]["model"] == "{{ get_where_subquery(ref('changed')) }}"


def test_macro_arguments_are_of_types_that_dbt_knows(bare: Project, marts: Marts) -> None:
    flag = ("dbt_project.yml", "validate_macro_args: false", "validate_macro_args: true")
    said: list[str] = []
    with bare.edited([flag]), pytest.MonkeyPatch.context() as patch:
        for name, value in marts.store.variables.items():
            patch.setenv(name, value)
        place = ["--project-dir", str(bare.folder), "--profiles-dir", str(bare.folder)]
        place += ["--target", marts.store.target]
        place += ["--target-path", str(bare.folder / "target" / "arguments")]
        runner = dbtRunner(callbacks=[lambda event: said.append(event.info.msg)])
        assert runner.invoke(["parse", "--no-partial-parse", *place]).success
    warnings = [text for text in said if " in the yaml for macro " in text]
    # Of a generic test dbt counts no arguments, so it finds too many of each.
    assert len(warnings) == len(list((REPO / "tests" / "generic").glob("*.sql")))
    assert all("number of arguments in the yaml for macro test_" in text for text in warnings)


# -- the incremental strategies --------------------------------------------------------------------


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project's macros and settings without its models, which take seconds to parse."""
    project = project_without_models(tmp_path_factory.mktemp("bare"))
    (project.folder / "macros" / "dropping.sql").write_text(DROPPING, "utf-8")
    (project.folder / "macros" / "altering.sql").write_text(ALTERING, "utf-8")
    return project


@pytest.fixture(scope="module", params=["duckdb", pytest.param("postgres", marks=pytest.mark.long)])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """A warehouse without a shop."""
    if request.param == "postgres":
        return PostgresWarehouse(request.getfixturevalue("postgres"), own("macros"))
    path = tmp_path_factory.mktemp("store") / "w.duckdb"
    duckdb.connect(str(path)).execute("create schema raw_classicmodels").close()
    return DuckDBWarehouse(path)


Row = tuple[int, int, str]
FIRST: list[Row] = [(1, 1, "x"), (1, 2, "y"), (2, 20, "z")]
TYPES = {"a": "integer", "b": "integer", "c": "varchar", "d": "integer"}
PREDICATES = "incremental_predicates=['b < 10', 'a > 0 or a < 0']"
MODELS = {
    "changed": "incremental_strategy='changed_rows', unique_key=['a', 'b']",
    "whole": "incremental_strategy='whole', unique_key=['a', 'b']",
    "changed_in_part": f"incremental_strategy='changed_rows', unique_key='b', {PREDICATES}",
    "as_dbt_does_it": f"incremental_strategy='delete+insert', unique_key='b', {PREDICATES}",
    "whole_in_part": f"incremental_strategy='whole', unique_key=['a', 'b'], {PREDICATES}",
    "changed_without_key": "incremental_strategy='changed_rows'",
    "whole_without_key": "incremental_strategy='whole'",
    "rebuilt": "unique_key='b'",
}


class Marts:
    """Marts with the columns a, b and c, whose rows are in a table of the warehouse."""

    def __init__(self, project: Project, store: Warehouse) -> None:
        self._project, self.store = project, store
        self._given = "main.given" if isinstance(store, DuckDBWarehouse) else "public.given"
        store.query(f"create table {self._given} (a integer, b integer, c varchar)")
        for name in MODELS:
            self.declare(name, "a, b, c")

    def declare(self, name: str, columns: str) -> None:
        """Give a mart these columns."""
        sql = f"{{{{ config({MODELS[name]}) }}}}\nselect {columns} from {self._given}\n"
        text = f"models:\n  - name: {name}\n    columns:\n"
        for column in columns.split(", "):
            column = column.split()[-1]
            text += f"      - name: {column}\n        data_type: {TYPES[column]}\n"
        if name == "changed":
            text += "    data_tests:\n      - primary_key: {arguments: {columns: [a, b]}}\n"
        folder = self._project.folder / "models" / "marts"
        (folder / f"{name}.sql").write_text(sql, "utf-8")
        (folder / f"{name}.yml").write_text(text, "utf-8")
        self._project.forget()

    def run(self, name: str, rows: list[Row], *arguments: str) -> str:
        """Build a mart of these rows; what dbt says of it."""
        values = ", ".join(f"({a}, {b}, '{c}')" for a, b, c in rows)
        self.store.query(f"delete from {self._given}; insert into {self._given} values {values}")
        outcome = self._project.dbt(self.store, "run", "-s", name, *arguments)
        return outcome.messages[name]

    def rows(self, name: str) -> list[tuple[Any, ...]]:
        return sorted(self.store.query(f"select * from marts.{name}"))


@pytest.fixture(scope="module")
def marts(bare: Project, store: Warehouse) -> Marts:
    return Marts(bare, store)


def test_a_key_of_several_columns(marts: Marts) -> None:
    marts.run("changed", FIRST)
    assert marts.run("changed", [(1, 1, "X"), (1, 2, "y"), (3, 1, "new")]) == "2 rows written"
    assert marts.rows("changed") == [(1, 1, "X"), (1, 2, "y"), (2, 20, "z"), (3, 1, "new")]
    assert marts.run("changed", [(1, 1, "X"), (3, 1, "new")]) == "0 rows written"


def test_a_key_of_several_columns_of_a_whole_table(marts: Marts) -> None:
    marts.run("whole", FIRST)
    assert marts.run("whole", [(1, 1, "X"), (2, 20, "z"), (3, 1, "new")]) == "3 rows written"
    assert marts.rows("whole") == [(1, 1, "X"), (2, 20, "z"), (3, 1, "new")]


@pytest.mark.parametrize("name", ["changed_in_part", "as_dbt_does_it"])
def test_predicates_are_those_of_dbt(name: str, marts: Marts) -> None:
    """Rows of the table that do not meet them stay; so one of the same key comes beside them."""
    marts.run(name, FIRST)
    marts.run(name, [(1, 1, "X"), (2, 20, "q")])
    assert marts.rows(name) == [(1, 1, "X"), (1, 2, "y"), (2, 20, "q"), (2, 20, "z")]


def test_predicates_hold_for_rows_that_are_gone(marts: Marts) -> None:
    marts.run("whole_in_part", FIRST)
    assert marts.run("whole_in_part", [(1, 1, "X")]) == "2 rows written"
    assert marts.rows("whole_in_part") == [(1, 1, "X"), (2, 20, "z")]


@pytest.mark.parametrize("name", ["changed_without_key", "whole_without_key"])
def test_without_a_key_the_model_says_what_it_needs(name: str, marts: Marts) -> None:
    marts.run(name, FIRST)
    said = marts.run(name, FIRST)
    assert f"need a unique_key, which {name} does not have: set it in the config" in said
    assert marts.rows(name) == FIRST


def test_a_rebuild_says_which_columns_changed(marts: Marts, store: Warehouse) -> None:
    because = "rebuilt because its columns changed: "
    assert "rebuilt" not in marts.run("rebuilt", FIRST)
    marts.declare("rebuilt", "a, b, c, 7 as d")
    assert marts.run("rebuilt", FIRST) == f"{because}new column d"
    assert marts.rows("rebuilt") == [(*row, 7) for row in FIRST]
    assert marts.run("rebuilt", FIRST) == "0 rows written"
    marts.declare("rebuilt", "b, a")
    said = marts.run("rebuilt", FIRST)
    assert said == f"{because}no column c any more, no column d any more"
    # What a contract cannot change, but a person can.
    store.query("alter table marts.rebuilt alter a type varchar")
    was = "VARCHAR" if isinstance(store, DuckDBWarehouse) else "TEXT"
    assert marts.run("rebuilt", FIRST) == f"{because}a is INTEGER, was {was}"
    marts.declare("rebuilt", "a, b")
    assert marts.run("rebuilt", FIRST) == f"{because}another order of columns"
    # A person who asks for it gets dbt's own answer.
    marts.declare("rebuilt", "a, b, c")
    assert "rebuilt" not in marts.run("rebuilt", FIRST, "--full-refresh")


# -- columns that are known already ----------------------------------------------------------------

ALTERING = """
{% macro alter_and_look() -%}
    {%- set altered = api.Relation.create(schema=target.schema, identifier='altered') -%}
    {%- set found = [] -%}
    {%- for statement in [
        'create table ' ~ altered ~ ' (a integer)',
        'insert into ' ~ altered ~ ' values (1)',
        'alter table ' ~ altered ~ ' add column b integer',
        'delete from ' ~ altered ~ '; alter table ' ~ altered ~ ' add column c integer',
    ] -%}
        {%- do run_query(statement) -%}
        {%- for _ in range(2) -%}
            {%- set columns = adapter.get_columns_in_relation(altered) -%}
            {%- do found.append(columns | map(attribute='name') | join) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- if found != ['a', 'a', 'a', 'a', 'ab', 'ab', 'abc', 'abc'] -%}
        {%- do exceptions.raise_compiler_error(found | string) -%}
    {%- endif -%}
{%- endmacro %}
"""


def test_columns_are_those_of_now(bare: Project, marts: Marts) -> None:
    assert bare.operation(marts.store, "alter_and_look")


# -- tables that are dropped while somebody reads --------------------------------------------------

DROPPING = """
{% macro drop_in_the_end() -%}
    {%- call statement('any') -%} select 1 {%- endcall -%}
    {%- do adapter.commit() -%}
    {%- do adapter.drop_relation(old_table()) -%}
{%- endmacro %}

{% macro drop_and_fail() -%}
    {%- call statement('any', auto_begin=false) -%}
        begin; create table public.half (a integer)
    {%- endcall -%}
    {%- do adapter.drop_relation(old_table()) -%}
    {%- do exceptions.raise_compiler_error('It fails.') -%}
{%- endmacro %}

{% macro old_table() -%}
    {{ return(api.Relation.create(
        database=target.database, schema='public', identifier='old', type='table'
    )) }}
{%- endmacro %}
"""
OLD = (
    "create table public.old as select 1 as a;"
    "create view public.inner_view as select * from public.old;"
    "create view public.outer_view as select * from public.inner_view"
)


@pytest.fixture
def old_table(postgres: PostgresServer) -> PostgresWarehouse:
    """A table with a view, and a view over that."""
    warehouse = PostgresWarehouse(postgres, own("dropping"))
    warehouse.query(OLD)
    return warehouse


def relations(warehouse: Warehouse) -> set[str]:
    found = warehouse.query(
        "select relname from pg_class where relnamespace = 'public'::regnamespace"
    )
    return {name for (name,) in found}


def test_who_reads_two_views_is_not_locked_out(bare: Project, old_table: PostgresWarehouse) -> None:
    """Dropped in one transaction, one view would wait for the reader, who waits for the other."""
    dropping = threading.Thread(target=bare.operation, args=(old_table, "drop_in_the_end"))
    with psycopg.connect(old_table.server.url(old_table.database)) as reader:
        reader.execute("set statement_timeout = '20s'")
        reader.execute("select * from public.inner_view")
        dropping.start()
        waits = "select 1 from pg_locks where not granted and relation = to_regclass('inner_view')"
        deadline = time.monotonic() + 60
        while not old_table.server.execute(waits, old_table.database):
            assert time.monotonic() < deadline and dropping.is_alive()
            time.sleep(0.1)
        with pytest.raises(psycopg.errors.UndefinedTable):
            reader.execute("select * from public.outer_view")
    dropping.join(60)
    assert not dropping.is_alive() and relations(old_table) == set()


def test_what_is_dropped_in_a_transaction_comes_back_with_it(
    bare: Project, old_table: PostgresWarehouse
) -> None:
    assert not bare.operation(old_table, "drop_and_fail")
    assert relations(old_table) == {"old", "inner_view", "outer_view"}
