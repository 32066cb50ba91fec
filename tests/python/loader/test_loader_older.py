"""What people have from before the loader was a package goes on working: commands, files, data."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import duckdb
import pytest

from conftest import Ask, Open
from loader import load
from loader.config import read_config
from support.clone import REPO

MODULES = (["-m", "sample_shop"], ["-m", "loader"])
SCRIPTS = ([str(REPO / "scripts/sample_source.py")], [str(REPO / "scripts/load.py")])
# Of a team that loads its shop since the first loader with settings.
SETTINGS = """\
source: sqlite:///shop.sqlite
target: duckdb
raw_schema: raw_classicmodels
exclude: [tmp_*]
exclude_columns: [employees.extension]
policy: evolve
mode: auto
max_delete_share: 0.5
tables:
  payments: {mode: append, cursor: paymentDate, overlap: 7}
"""


def _run(folder: Path, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


@pytest.mark.parametrize(("make", "load_it"), [MODULES, SCRIPTS], ids=["modules", "scripts"])
def test_commands_work_in_another_folder(
    make: list[str], load_it: list[str], tmp_path: Path
) -> None:
    """They read and write there: shop.sqlite, loader.yml, warehouse.duckdb."""
    # Of this tree, whatever tree is installed.
    environment = {"PYTHONPATH": str(REPO)} if make[0] == "-m" else {}
    _run(tmp_path, *make, "sqlite:///shop.sqlite", "--as-of", "2026-11-20", **environment)
    (tmp_path / "loader.yml").write_text(SETTINGS)
    said = _run(tmp_path, *load_it, **environment)
    assert "sqlite:///shop.sqlite -> duckdb warehouse.duckdb, batch " in said
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "loader.yml",
        "shop.sqlite",
        "warehouse.duckdb",
    ]
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as warehouse:
        rows = "select count(*) from raw_classicmodels.employees where extension is null"
        with pytest.raises(duckdb.BinderException, match="extension"):
            warehouse.execute(rows)
        assert warehouse.execute("select mode from raw_classicmodels._load_tables").fetchall()


def test_an_environment_without_the_projects_packages(tmp_path: Path) -> None:
    """One that was made when there were none: the older command needs only the pinned packages."""
    with sqlite3.connect(tmp_path / "shop.sqlite") as shop:
        shop.execute("create table orders (id integer primary key)")
    program = f"""
import importlib.util, runpy, sys
sys.path.append({sysconfig.get_path("purelib")!r})
assert importlib.util.find_spec("yaml") and not importlib.util.find_spec("loader")
sys.argv = ["load.py", "--source", "sqlite:///shop.sqlite"]
runpy.run_path({SCRIPTS[1][0]!r}, run_name="__main__")
"""
    # Without `site`, which reads what editable installations leave.
    assert "orders" in _run(tmp_path, "-S", "-c", program)


def test_an_older_configuration_is_read(tmp_path: Path) -> None:
    (tmp_path / "loader.yml").write_text(SETTINGS)
    config = read_config(tmp_path / "loader.yml")
    assert (config.source, config.target) == ("sqlite:///shop.sqlite", "duckdb")
    assert config.raw_schema == "raw_classicmodels"
    options = config.options
    assert (options.exclude, options.exclude_columns) == (["tmp_*"], ["employees.extension"])
    assert (options.default.mode, options.default.policy) == ("auto", "evolve")
    payments = options.of("payments")
    assert (payments.mode, payments.cursor, payments.overlap) == ("append", "paymentDate", 7)


# By what a warehouse has that the first loaders made: they did not store these.
LATER = [
    ["_load_commits"],
    ["_load_commits", "_load_blocks"],
    ["_load_commits", "_load_blocks", "_load_schema_changes"],
    ["_load_commits", "_load_blocks", "_load_schema_changes", "_load_ranges", "_load_state"],
]


@pytest.mark.parametrize("later", LATER, ids=["no commits", "no blocks", "no schemas", "no state"])
def test_a_warehouse_of_an_older_loader_is_loaded_on(
    later: list[str], warehouse: tuple[Open, Ask], tmp_path: Path
) -> None:
    open_warehouse, ask = warehouse
    url = f"sqlite:///{tmp_path}/shop.sqlite"
    shop = sqlite3.connect(tmp_path / "shop.sqlite", isolation_level=None)
    shop.execute("create table orders (id integer primary key, status text)")
    shop.execute("insert into orders values (1, 'New'), (2, 'New')")
    load(url, open_warehouse())
    for table in later:
        ask(f"drop table raw.{table}")
    shop.execute("update orders set status = 'Sent' where id = 2")
    shop.close()
    result: Any = load(url, open_warehouse())
    changes = result.tables[0].changes
    assert (changes.inserted, changes.updated, changes.live) == (0, 1, 2)
    assert ask("select count(distinct _loaded_at) from raw.orders") == [(2,)]
    assert ask("select count(*) from raw._load_runs") == [(2,)]
    for table in later:
        ask(f"select * from raw.{table}")
