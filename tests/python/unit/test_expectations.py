"""What dbt's tests expect: no column of a mart can be null in every row unnoticed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from support.clone import REPO

PROPERTIES = [
    yaml.safe_load(path.read_text("utf-8")) for path in sorted((REPO / "models").rglob("*.yml"))
]
UNIT_TESTS = [test for found in PROPERTIES for test in found.get("unit_tests", [])]


def marts() -> Iterator[dict[str, Any]]:
    for path in sorted((REPO / "models" / "marts").rglob("[a-z]*.yml")):
        yield from yaml.safe_load(path.read_text("utf-8")).get("models", [])


def columns_with_values(mart: str) -> set[str]:
    """Columns for which a unit test of the mart expects a value in some row."""
    rows = [row for test in UNIT_TESTS if test["model"] == mart for row in test["expect"]["rows"]]
    return {column for row in rows for column, value in row.items() if value is not None}


def columns_of_data_tests(tests: list[dict[str, Any]]) -> Iterator[str]:
    """Columns that a data test compares, or in which it finds a null."""
    for test in tests:
        ((name, settings),) = test.items()
        given = settings["arguments"]
        if name in ("primary_key", "no_nulls"):
            yield from given["columns"]
        elif name == "foreign_keys":
            yield from given["parents"]
        elif name == "same_as_parents":
            for parent in given["parents"]:
                ending = parent.get("ending", "")
                yield from (column + ending for column in parent.get("columns", []))
                yield from parent.get("renamed", {})


def test_no_column_of_a_mart_can_be_null_throughout() -> None:
    found = {mart["name"]: [column["name"] for column in mart["columns"]] for mart in marts()}
    assert len(found) > 20 and sum(map(len, found.values())) > 400
    unnoticed = [
        f"{mart['name']}.{column}"
        for mart in marts()
        for column in found[mart["name"]]
        if column not in columns_with_values(mart["name"])
        and column not in set(columns_of_data_tests(mart.get("data_tests", [])))
    ]
    assert unnoticed == []


def test_the_wide_view_is_compared_column_by_column() -> None:
    (wide,) = (mart for mart in marts() if mart["name"] == "orders_obt")
    compared = set(columns_of_data_tests(wide["data_tests"]))
    others = {column["name"] for column in wide["columns"]} - compared
    # The key by which it is compared, and what depends on the day of the run.
    assert others == {"order_line_key", "is_overdue", "as_of_date"}
