"""Tables of a contract on PostgreSQL: filled in parallel, and exactly what dbt would make."""

from __future__ import annotations

import pytest

from support.one_run import own
from support.project import PostgresWarehouse, Project, project_without_models
from tools.servers import PostgresServer

COLUMNS = """\
models:
  - name: checked
    config:
      unique_key: id
      indexes: [{columns: [id], unique: true}]
      post-hook: insert into hooked values (1)
    description: One row per number.
    constraints:
      - {type: primary_key, columns: [id], name: checked_key}
      - {type: check, expression: id > 0}
    columns:
      - {name: id, data_type: bigint, constraints: [{type: not_null}]}
      - {name: amount, data_type: "numeric(12,2)", description: Money.}
      - {name: word, data_type: varchar(8), constraints: [{type: not_null}]}
      - {name: seen_at, data_type: timestamp}
"""
# In another order than the contract's, and of wider types than it.
SQL = (
    "select {word} as word, cast(id as numeric) / 8 as amount, {id} as id, moment as seen_at"
    " from public.lots"
)
TYPES = [
    ("id", "bigint", True),
    ("amount", "numeric(12,2)", False),
    ("word", "character varying(8)", True),
    ("seen_at", "timestamp without time zone", False),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project's macros and settings, one mart, and two data tests."""
    project = project_without_models(tmp_path_factory.mktemp("contract"))
    folder = project.folder / "tests" / "singular"
    folder.mkdir()
    for name, setting, sign in (
        ("compiled", "jit", "<> 'off'"),
        ("not_compiled", "jit", "= 'off'"),
        ("other_memory", "work_mem", "<> '16MB'"),
        ("same_memory", "work_mem", "= '16MB'"),
    ):
        query = f"select 1 as found where current_setting('{setting}') {sign}"
        (folder / f"{name}.sql").write_text(query, "utf-8")
    return project


@pytest.fixture(scope="module")
def warehouse(postgres: PostgresServer) -> PostgresWarehouse:
    """A table that is large enough for a parallel plan, and what shows the plans of others."""
    warehouse = PostgresWarehouse(postgres, own("contract"))
    warehouse.query(
        "create table public.lots as select n as id, cast('2026-01-02' as timestamp) as moment"
        " from generate_series(1, 300000) as n; analyze public.lots;"
        " create table public.hooked (n integer);"
        f" alter database {warehouse.database} set min_parallel_table_scan_size = 0;"
        f" alter database {warehouse.database} set parallel_setup_cost = 0;"
        f" alter database {warehouse.database} set parallel_tuple_cost = 0;"
        # Not PostgreSQL's own, which it would call in the leader alone.
        " create function public.process() returns integer parallel safe stable"
        " language plpgsql as 'begin return pg_backend_pid(); end'"
    )
    return warehouse


def build(project: Project, warehouse: PostgresWarehouse, word: str, number: str) -> str:
    """Build the mart with these expressions; what dbt says of it."""
    folder = project.folder / "models" / "marts"
    (folder / "checked.sql").write_text(SQL.format(word=word, id=number), "utf-8")
    (folder / "checked.yml").write_text(COLUMNS.replace("hooked", "public.hooked"), "utf-8")
    return project.dbt(warehouse, "run").messages["checked"]


def test_it_is_filled_in_parallel_and_is_as_the_contract_says(
    project: Project, warehouse: PostgresWarehouse
) -> None:
    said = build(project, warehouse, "cast(public.process() as varchar)", "cast(id as bigint)")
    assert "rror" not in said, said
    assert warehouse.query("select count(distinct word) > 1 from marts.checked") == [(True,)]
    columns = warehouse.query(
        "select attname, format_type(atttypid, atttypmod), attnotnull from pg_attribute"
        " where attrelid = 'marts.checked'::regclass and attnum > 0 order by attnum"
    )
    assert columns == TYPES
    constraints = warehouse.query(
        "select conname, pg_get_constraintdef(oid) from pg_constraint"
        " where conrelid = 'marts.checked'::regclass and contype <> 'n' order by contype"
    )
    assert constraints == [
        ("checked_id_check", "CHECK ((id > 0))"),
        ("checked_key", "PRIMARY KEY (id)"),
    ]
    indexes = warehouse.query("select count(*) from pg_indexes where tablename = 'checked'")
    assert indexes == [(2,)]
    assert warehouse.query("select count(*) from public.hooked") == [(1,)]
    comments = warehouse.query(
        "select col_description(c.oid, 2), obj_description(c.oid)"
        " from pg_class as c where c.oid = 'marts.checked'::regclass"
    )
    assert comments == [("Money.", "One row per number.")]
    assert warehouse.query("select relname from pg_class where relname like '%contract%'") == []
    # PostgreSQL knows the rows of all columns before anything reads them.
    known = "select count(*) from pg_stats where schemaname = 'marts' and tablename = 'checked'"
    assert warehouse.query(known) == [(4,)]
    # Rounded as an `insert` rounds.
    assert str(warehouse.query("select amount from marts.checked where id = 1")) == (
        "[(Decimal('0.13'),)]"
    )


def test_a_new_table_is_vacuumed_and_one_that_is_there_is_not(
    project: Project, warehouse: PostgresWarehouse
) -> None:
    model = project.folder / "models" / "marts" / "vacuumed.sql"
    hook = "{{ config(unique_key='id', post_hook=vacuum_when_made()) }}"
    (model.with_suffix(".yml")).write_text(
        "models: [{name: vacuumed, columns: [{name: id, data_type: integer}]}]", "utf-8"
    )
    count = "select vacuum_count from pg_stat_user_tables where relname = 'vacuumed'"
    rows = "{{ 3 if is_incremental() else 2 }}"
    model.write_text(f"{hook} select id from public.lots where id <= {rows}", "utf-8")
    project.forget()
    for outcome in ("ANALYZE", "1 rows written"):
        said = project.dbt(warehouse, "run", "--select", "vacuumed").messages["vacuumed"]
        assert said == outcome
        assert warehouse.query(count) == [(1,)]
    model.unlink()
    model.with_suffix(".yml").unlink()
    project.forget()


def test_the_query_of_a_data_test_is_not_compiled_and_has_its_memory(
    project: Project, warehouse: PostgresWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = "select current_setting('jit'), current_setting('work_mem')"
    assert warehouse.query(settings) == [("on", "4MB")]
    monkeypatch.setenv("POSTGRES_WORK_MEM", "16MB")
    assert project.dbt(warehouse, "test").failed == {"not_compiled", "same_memory"}


# By the mart that breaks the contract: a word, a number, and what is said of it.
BROKEN = {
    "long": ("'nine long'", "cast(id as bigint)", "value too long for type character varying(8)"),
    "empty": ("cast(null as varchar)", "cast(id as bigint)", 'column "word" of relation'),
    "twice": ("'w'", "cast(1 as bigint)", "could not create unique index"),
    "below": ("'w'", "cast(-id as bigint)", "violated by some row"),
    "other": ("1", "cast(id as bigint)", "| word        | INTEGER"),
}


@pytest.fixture(scope="module")
def broken(
    tmp_path_factory: pytest.TempPathFactory, warehouse: PostgresWarehouse
) -> dict[str, str]:
    """What dbt says of each of these marts, which one run builds."""
    project = project_without_models(tmp_path_factory.mktemp("broken"))
    folder = project.folder / "models" / "marts"
    for name, (word, number, _) in BROKEN.items():
        columns = COLUMNS.replace("hooked", "public.hooked").replace("checked", f"broken_{name}")
        (folder / f"broken_{name}.yml").write_text(columns, "utf-8")
        (folder / f"broken_{name}.sql").write_text(SQL.format(word=word, id=number), "utf-8")
    return dict(project.dbt(warehouse, "run", "--full-refresh").messages)


@pytest.mark.long
@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_the_contract_is_an_error_and_leaves_nothing(
    name: str, broken: dict[str, str], warehouse: PostgresWarehouse
) -> None:
    assert BROKEN[name][2] in broken[f"broken_{name}"]
    assert warehouse.query(f"select relname from pg_class where relname ~ 'broken_{name}'") == []
