"""What a build finds to have changed, and what it selects; the same in `make build` is slow."""

from __future__ import annotations

import sqlite3
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pytest

from loader import DuckDBDestination, LoadError, Options, load
from pipeline import changes
from pipeline.changes import (
    Changes,
    GreenBuild,
    Inputs,
    Wanted,
    changes_since,
    inputs,
    note_green_build,
    signs_of,
)
from pipeline.dbt_runner import Found, Node, Result, nodes_of
from pipeline.selection import selected, with_others
from pipeline.warehouse import DuckDB

NOW = Inputs("code", "2026-11-20", "2026-11-20")
WARNED = Result("odd", "test", "warn", failures=2, found=Found(2, Decimal("1.50"), ["id 1"]))


class Shop:
    """Two tables, and a warehouse into which they are loaded."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "shop.sqlite"
        self.warehouse = DuckDB("duckdb", "main", {"path": str(folder / "warehouse.duckdb")})
        self.run("create table a (id integer primary key, v integer)")
        self.run("create table b (id integer primary key, v integer)")
        self.run("insert into a values (1, 1), (2, 2)")
        self.run("insert into b values (1, 1)")

    def run(self, sql: str) -> None:
        with sqlite3.connect(self.path) as shop:
            shop.execute(sql)

    def load(self, options: Options | None = None) -> None:
        place = self.warehouse.place
        destination = DuckDBDestination("raw_classicmodels", place)
        load(f"sqlite:///{self.path}", destination, options or Options(max_delete_share=1))

    def built(self, *results: Result) -> None:
        """Leave what a green build would leave."""
        with duckdb.connect(self.warehouse.place) as file:
            file.execute("create schema if not exists intermediate")
            file.execute("create schema if not exists marts")
            file.execute("create or replace table marts.m (id integer)")
            file.execute("create schema if not exists seeds")
            file.execute("create or replace table seeds.accepted_rows as select 'odd' as test_name")
        found = changes_since(self.warehouse, NOW, Wanted())
        note_green_build(self.warehouse, NOW, found.load, results)

    def found(self, now: Inputs = NOW, asked: Wanted | None = None) -> Changes:
        return changes_since(self.warehouse, now, asked or Wanted())


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    made.load()
    made.built(WARNED)
    return made


def test_nothing_has_changed_after_a_load_of_the_same(shop: Shop) -> None:
    shop.load()
    found = shop.found()
    assert found.is_nothing and found.since and found.load
    assert found.since.warned == [WARNED]
    assert found.warned == {"odd"}
    assert found.load.confirmed == {"a", "b"}


def test_what_several_loads_changed_is_changed(shop: Shop) -> None:
    shop.run("update a set v = 3 where id = 1")
    shop.load()
    shop.run("update a set v = 1 where id = 1")  # as it was before
    shop.load()
    shop.load()
    found = shop.found()
    assert found.tables == {"a"} and not found.is_nothing
    shop.run("delete from b")
    shop.load()
    assert shop.found().tables == {"a", "b"}


def test_a_table_that_was_loaded_anew_is_changed(shop: Shop) -> None:
    shop.run("delete from b")
    shop.load(Options(full_refresh=True, max_delete_share=1))
    assert "b" in shop.found().tables


def test_a_load_that_failed_changes_nothing(shop: Shop) -> None:
    shop.run("update a set v = 'not a number'")
    with pytest.raises(LoadError):
        shop.load(Options(strict=True))
    assert shop.found().is_nothing


@pytest.mark.parametrize(
    ("sql", "place", "why"),
    [
        ("alter table a add column w integer", "shop", "tables or columns"),
        ("create table c (id integer primary key)", "shop", "tables or columns"),
        ("alter table marts.m add column w integer", "warehouse", "in the warehouse"),
        ("drop table marts.m", "warehouse", "in the warehouse"),
        ("delete from intermediate.last_green_build", "warehouse", "no record"),
        ("drop table intermediate.last_green_build", "warehouse", "no record"),
    ],
)
def test_everything_is_built_after(sql: str, place: str, why: str, shop: Shop) -> None:
    if place == "shop":
        shop.run(sql)
    else:
        with duckdb.connect(shop.warehouse.place) as file:
            file.execute(sql)
    shop.load()
    found = shop.found()
    assert found.since is None and why in found.why and not found.is_nothing


def test_code_and_wishes_ask_for_everything(shop: Shop) -> None:
    other = shop.found(Inputs("other code", NOW.as_of_date, NOW.built_on))
    assert other.since is None and not other.same_code
    asked = shop.found(asked=Wanted(everything=True))
    assert asked.since is None and asked.same_code
    assert shop.found(asked=Wanted("new")).tested_through
    assert not shop.found().tested_through


def test_another_day_and_another_date(shop: Shop) -> None:
    found = shop.found(Inputs("code", "2026-11-21", "2026-11-20"))
    assert found.new_day and not found.tests and not found.is_nothing
    found = shop.found(Inputs("code", "2026-11-20", "2026-11-21"))
    assert found.tests == {"odd"} and not found.new_day and not found.is_nothing


@pytest.mark.parametrize("everything", [False, True])
def test_a_test_that_rows_were_accepted_for_looks_at_all_rows_on_another_date(
    everything: bool, shop: Shop
) -> None:
    with duckdb.connect(shop.warehouse.place) as file:
        file.execute("update seeds.accepted_rows set test_name = 'accepting'")
    another = Inputs("code", "2026-11-20", "2026-11-21")
    asked = Wanted("new", everything=everything)
    assert shop.found(another, asked).warned == {"odd", "accepting"}
    assert shop.found(asked=asked).warned == {"odd"}


@pytest.mark.parametrize(
    "sql", ["drop table intermediate.last_green_build", "drop schema intermediate cascade"]
)
def test_a_watch_finds_no_sign_where_the_table_is_gone(sql: str, shop: Shop) -> None:
    with shop.warehouse.reading() as ask:
        (sign,) = signs_of(ask, shop.warehouse)
    assert sign.startswith("code 20")
    with duckdb.connect(shop.warehouse.place) as file:
        file.execute(sql)
    with shop.warehouse.reading() as ask:
        assert signs_of(ask, shop.warehouse) == []


def test_values_that_were_lost_are_a_change(shop: Shop) -> None:
    with duckdb.connect(shop.warehouse.place) as file:
        file.execute(
            "insert into raw_classicmodels._load_issues (batch_id, table_name, column_name, reason,"
            " value_count) select max(batch_id), 'a', 'v', 'zero date', 1"
            " from raw_classicmodels._load_runs"
        )
    shop.load()
    found = shop.found()
    assert found.other_issues and not found.is_nothing


def test_a_fingerprint_is_of_files_and_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "PROJECT", tmp_path)
    monkeypatch.setattr(changes, "CODE", ("models", "packages.yml"))
    monkeypatch.delenv("LOAD_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    model = tmp_path / "models" / "m.sql"
    model.write_text("select 1")
    prints = set()

    def note() -> None:
        for path in ("w.duckdb", "elsewhere/w.duckdb"):  # the place does not matter
            warehouse = DuckDB("duckdb", "main", {"path": path})
            prints.add(inputs(warehouse, "").fingerprint)

    note()
    model.write_text("select 2")
    note()
    model.rename(tmp_path / "models" / "n.sql")
    note()
    (tmp_path / "loader.yml").write_text("strict: true")
    note()
    monkeypatch.setenv("DBT_FULL_REFRESH", "1")
    note()
    monkeypatch.setenv("DBT_PROFILES_DIR", "there")  # it changes no row
    note()
    assert len(prints) == 5


# -- what is selected -----------------------------------------------------------------------------

NODES = [
    Node("source.a", "a", "source", (), table="a"),
    Node("source.b", "b", "source", (), table="b"),
    Node("source.runs", "_load_runs", "source", (), table="_load_runs"),
    Node("source.history", "_runs", "source", (), table="_runs"),
    Node("history", "history", "model", ("source.history",)),
    Node("source.orders", "orders", "source", (), table="orders"),
    Node("source.commits", "_load_commits", "source", (), table="_load_commits"),
    Node("seed.s", "s", "seed", ()),
    Node("stg_a", "stg_a", "model", ("source.a",), is_view=True),
    Node("stg_b", "stg_b", "model", ("source.b", "seed.s"), is_view=True),
    Node("snap_a", "snap_a", "snapshot", ("stg_a",)),
    Node("fact", "fact", "model", ("snap_a", "stg_b")),
    Node("day", "day", "model", ("stg_b",), words=frozenset({"as_of_date"})),
    Node("wide", "wide", "model", ("fact",), is_view=True, words=frozenset({"as_of_date"})),
    Node("asks", "asks", "model", ("stg_b",), is_view=True, words=frozenset({"run_query"})),
    Node("top", "top", "model", ("day",)),
    Node("test_stg_a", "test_stg_a", "test", ("stg_a",)),
    Node("test_both", "test_both", "test", ("fact", "stg_b")),
    Node("test_wide", "test_wide", "test", ("wide",)),
    Node("test_load", "test_load", "test", ("source.runs",)),
    Node("test_times", "test_times", "test", ("source.commits",)),
    Node("odd", "odd", "test", ("stg_b",)),
    Node("unit", "unit", "unit_test", ()),
]
SINCE = GreenBuild("", "", "", "", "", "", "", [WARNED])


@pytest.mark.parametrize(
    ("found", "names"),
    [
        (Changes(tables=frozenset("a")), "snap_a fact test_stg_a test_both test_wide"),
        (Changes(tables=frozenset("b")), "fact day asks top test_both test_wide odd"),
        (Changes(new_day=True), "day wide top test_wide"),
        (Changes(tests=frozenset({"odd"})), "odd"),
        (Changes(other_issues=True), ""),
        (Changes(tables=frozenset({"unknown"})), ""),
        # A new order may have brought a time of its commit.
        (Changes(tables=frozenset({"orders"})), "test_times"),
    ],
)
def test_what_hangs_on_a_change_is_selected(found: Changes, names: str) -> None:
    chosen = {node.name for node in selected(NODES, found)}
    # Each load is tested, and what is made of the runs follows everything else.
    assert chosen == {*names.split(), "test_load", "history"}


def test_results_of_others_are_those_of_the_last_green_build() -> None:
    ran = [Result("fact", "model", "success"), Result("test_both", "test", "fail")]
    found = with_others(ran, NODES, SINCE)
    assert found[:2] == ran and WARNED in found
    assert len(found) == sum(node.kind != "source" for node in NODES)
    again = Result("odd", "test", "pass")
    assert WARNED not in with_others([again], NODES, SINCE)


@pytest.mark.parametrize(
    ("below", "lasts"), [("incremental", True), ("seed", True), ("view", True), ("table", False)]
)
def test_a_view_over_a_table_that_is_replaced_is_built_with_it(below: str, lasts: bool) -> None:
    """PostgreSQL drops it with the table, and a view over it too."""

    def node(name: str, kind: str, *parents: str) -> SimpleNamespace:
        return SimpleNamespace(
            unique_id=name, name=name, resource_type="model", raw_code="", test_metadata=None,
            config=SimpleNamespace(materialized=kind, get=lambda _: None),
            depends_on_nodes=parents, tags=[],
        )  # fmt: skip

    nodes = {n.unique_id: n for n in (
        node("made", below), node("over", "view", "made"), node("top", "view", "over"),
    )}  # fmt: skip
    metadata = SimpleNamespace(project_name="classicmodels")
    manifest = SimpleNamespace(nodes=nodes, sources={}, macros={}, unit_tests={}, metadata=metadata)
    views = {found.name: found.is_view for found in nodes_of(manifest)}
    assert (views["over"], views["top"]) == (lasts, lasts)
