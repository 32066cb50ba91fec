"""The generic test `primary_key` where raw tells which keys may be there twice after cleaning."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from support.one_run import own
from support.project import (
    DuckDBWarehouse,
    PostgresWarehouse,
    Project,
    Warehouse,
    project_without_models,
)

LINES = """
{{ config(materialized='view') }}
select cast(a as integer) as n, {{ clean_text('code') }} as code from {{ source('given', 'raw') }}
"""
TESTED = """
sources:
  - name: given
    schema: raw_classicmodels
    tables:
      - name: raw
models:
  - name: lines
    data_tests:
      - primary_key:
          name: lines_are_there_once
          arguments:
            columns: [n, code]
            raw: {of: "source('given', 'raw')", numbers: [a], text: code, text_before: code}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Lines that are made of a raw table."""
    project = project_without_models(tmp_path_factory.mktemp("keys"))
    folder = project.folder / "models" / "keys"
    folder.mkdir()
    (folder / "lines.sql").write_text(LINES, "utf-8")
    (folder / "lines.yml").write_text(TESTED, "utf-8")
    return project


@pytest.fixture(scope="module", params=["duckdb", pytest.param("postgres", marks=pytest.mark.long)])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """An empty warehouse."""
    if request.param == "postgres":
        return PostgresWarehouse(request.getfixturevalue("postgres"), own("keys"))
    path: Path = tmp_path_factory.mktemp("store") / "w.duckdb"
    duckdb.connect(str(path)).execute("create schema raw_classicmodels").close()
    return DuckDBWarehouse(path)


@pytest.mark.parametrize(
    ("kind", "rows", "is_found"),
    [
        # The cast makes two numbers equal: rows are grouped whatever their text is.
        ("numeric(5, 1)", "(1.2, 'x'), (1.4, 'x'), (3.0, 'y')", True),
        ("double precision", "(1.2, 'x'), (1.4, 'x'), (3.0, 'y')", True),
        ("varchar(9)", "('1', 'x'), ('01', 'x'), ('3', 'y')", True),
        # Cleaning makes two texts equal.
        ("integer", "(1, 'x'), (1, ' x'), (3, 'y')", True),
        ("bigint", "(1, 'x'), (1, 'x '), (3, 'y')", True),
        ("integer", "(1, 'x'), (2, ' x'), (3, 'y')", False),
        # What raw has twice is found there. Here nobody looks for it, which is the point.
        ("integer", "(1, 'x'), (1, 'x'), (3, 'y')", False),
        ("smallint", "(1, 'x'), (1, 'x'), (3, 'y')", False),
    ],
)
def test_numbers_that_a_cast_makes_equal(
    kind: str, rows: str, is_found: bool, project: Project, store: Warehouse
) -> None:
    values = f"select cast(a as {kind}) as a, code, cast(null as timestamp) as _deleted_at"
    values += f" from (values {rows}) as v (a, code)"
    store.query(
        "create schema if not exists raw_classicmodels;"
        " drop table if exists raw_classicmodels.raw cascade;"
        f" create table raw_classicmodels.raw as {values}"
    )
    assert project.dbt(store, "run", "-s", "lines").green
    outcome = project.dbt(store, "test", "-s", "lines")
    assert outcome.failed == ({"lines_are_there_once"} if is_found else set()), outcome.messages
