"""The first load into a DuckDB file that does not exist: the staging file becomes the warehouse."""

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from loader import DuckDBDestination, LoadError, LoadResult, Options, load


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A folder of its own for the warehouse, so that it shows what is left there."""
    folder = tmp_path / "warehouse"
    folder.mkdir()
    return folder / "w.duckdb"


@pytest.fixture
def run(path: Path, tmp_path: Path) -> Callable[[], LoadResult]:
    with sqlite3.connect(tmp_path / "shop.sqlite") as shop:
        shop.execute("create table t (id integer primary key, v text)")
        shop.execute("insert into t values (1, 'a'), (2, null)")
    return lambda: load(f"sqlite:///{tmp_path}/shop.sqlite", DuckDBDestination("raw", path))


def _rows(path: Path) -> list[tuple[object, ...]]:
    with duckdb.connect(str(path), read_only=True) as warehouse:
        rows: list[tuple[object, ...]] = warehouse.execute(
            "select id, v, _loaded_at = started_at, r.batch_id = _batch_id, _deleted_at"
            " from raw.t cross join raw._load_runs as r where status = 'succeeded'"
            " qualify row_number() over (partition by id order by started_at) = 1 order by id"
        ).fetchall()
    return rows


LOADED = [(1, "a", True, True, None), (2, None, True, True, None)]


def test_rows_are_stamped_and_nothing_is_left(path: Path, run: Callable[[], LoadResult]) -> None:
    (entry,) = run().tables
    assert (entry.changes.inserted, entry.changes.live) == (2, 2)
    assert _rows(path) == LOADED
    assert list(path.parent.iterdir()) == [path]
    with duckdb.connect(str(path)) as warehouse:
        found = warehouse.execute(
            "select column_name, data_type, is_nullable, column_default from"
            " information_schema.columns where table_name = 't' and column_name[1] = '_'"
        ).fetchall()
    assert found == [
        ("_loaded_at", "TIMESTAMP", "NO", None),
        ("_batch_id", "VARCHAR", "NO", None),
        ("_deleted_at", "TIMESTAMP", "YES", None),
    ]
    (entry,) = run().tables
    assert (entry.changes.inserted, entry.changes.updated, entry.changes.deleted) == (0, 0, 0)
    assert _rows(path) == LOADED


def test_killed_when_the_file_has_two_names(
    path: Path, tmp_path: Path, run: Callable[[], LoadResult]
) -> None:
    """The staging file of the killed load is the warehouse: nothing may be staged there."""
    with sqlite3.connect(tmp_path / "shop.sqlite") as shop:
        shop.execute("create table many (id integer primary key, v text)")
        shop.executemany("insert into many values (?, ?)", ((n, f"{n}") for n in range(3_000)))
    run()
    os.link(path, f"{path}.loading")
    found = [(entry.changes.inserted, entry.changes.live) for entry in run().tables]
    assert found == [(0, 3_000), (0, 2)]
    assert _rows(path) == LOADED
    assert list(path.parent.iterdir()) == [path]


def test_what_a_killed_load_left_is_not_in_the_warehouse(
    path: Path, run: Callable[[], LoadResult]
) -> None:
    with duckdb.connect(f"{path}.loading") as staging:
        staging.execute("create schema raw; create table raw.t as select 7 as id, 'x' as v")
        staging.execute("create table raw._load_runs as select 1 as x; create table old (x int)")
        staging.execute("create schema other; create table other.t (x int)")
    run()
    assert _rows(path) == LOADED
    with duckdb.connect(str(path)) as warehouse:
        found = warehouse.execute(
            "select schema_name, table_name from duckdb_schemas() left join duckdb_tables() using"
            " (database_name, schema_name) where database_name = 'w' and schema_name not in"
            " ('main', 'pg_catalog', 'information_schema') and table_name[:1] <> '_'"
        ).fetchall()
    assert found == [("raw", "t")]


def test_another_program_makes_the_file_meanwhile(
    path: Path, run: Callable[[], LoadResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = DuckDBDestination.begin_publish

    def too_late(self: DuckDBDestination) -> None:
        begin(self)
        with duckdb.connect(str(path)) as other:
            other.execute("create table mine as select 42 as x")

    with monkeypatch.context() as patched, pytest.raises(LoadError) as raised:
        patched.setattr(DuckDBDestination, "begin_publish", too_late)
        run()
    assert str(raised.value) == (
        f"Another program created the warehouse {path} during this load, so nothing was published:"
        " run the load again."
    )
    assert list(path.parent.iterdir()) == [path]
    with duckdb.connect(str(path)) as other:
        assert other.execute("select x from mine").fetchall() == [(42,)]
    run()
    assert _rows(path) == LOADED


def test_a_file_system_without_links(
    path: Path, run: Callable[[], LoadResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", refused)
    run()
    assert _rows(path) == LOADED
    assert list(path.parent.iterdir()) == [path]


def test_a_link_to_nothing_stays_a_link(path: Path, run: Callable[[], LoadResult]) -> None:
    target = path.parent / "real.duckdb"
    path.symlink_to(target)
    run()
    assert path.is_symlink()
    assert _rows(target) == LOADED


@pytest.mark.parametrize("version", ["v1.0.0", "v1.2.0", "v1.3.0", "v1.4.0", "v1.5.0"])
def test_a_file_of_each_storage_version_gets_new_tables(
    version: str, path: Path, run: Callable[[], LoadResult], tmp_path: Path
) -> None:
    with duckdb.connect() as other:
        other.execute(f"attach '{path}' as made (storage_version '{version}')")
    run()
    assert _rows(path) == LOADED
    again = Options(full_refresh=True)
    load(f"sqlite:///{tmp_path}/shop.sqlite", DuckDBDestination("raw", path), again)
    with duckdb.connect(str(path)) as warehouse:
        assert warehouse.execute("select id, v from raw.t").fetchall() == [(1, "a"), (2, None)]
        found = warehouse.execute("select tags from duckdb_databases() where path is not null")
        ((tags,),) = found.fetchall()
    assert tags["storage_version"] == f"{version}+"
