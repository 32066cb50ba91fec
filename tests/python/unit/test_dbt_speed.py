"""What dbt makes once, instead of for each query and node, is what it would make."""

from __future__ import annotations

from decimal import Decimal

from dbt.context.macros import MacroNamespace
from dbt.context.manifest import ManifestContext
from dbt_common.clients import agate_helper

from pipeline.dbt_runner import speed_up
from pipeline.dbt_runner.speed import found_macros

ROWS = [{"code": "007", "price": Decimal("1.50"), "none": None, "note": "null"}]
COLUMNS = ("code", "price", "none", "note")


def test_an_answer_has_the_same_types() -> None:
    speed_up()
    build = agate_helper.build_type_tester
    tables = []
    for made in (build.kept.__wrapped__, build):
        agate_helper.build_type_tester = made
        tables.append(agate_helper.table_from_data_flat(ROWS, COLUMNS))
    left, right = tables
    assert [tuple(row) for row in left.rows] == [tuple(row) for row in right.rows]
    assert [type(kind) for kind in left.column_types] == [type(kind) for kind in right.column_types]
    assert tuple(right.rows[0]) == ("007", Decimal("1.50"), None, "null")


def test_a_tester_of_types_is_made_once() -> None:
    speed_up()
    build = agate_helper.build_type_tester
    assert build({"b", "a"}, ()) is build(["a", "b"], ())
    assert build(["a"], ()) is not build(["b"], ())
    assert build(["a"], ()) is not build(["a"])


def test_the_same_macro_is_found() -> None:
    namespace = MacroNamespace(
        {"own": "root", "both": "root", "all": "root"},
        {"both": "local", "all": "local"},
        {"all": "dbt", "only": "dbt", "package": "dbt"},
        {"package": {"all": "package"}},
    )
    assert found_macros(namespace) == dict(namespace)
    speed_up()
    speed_up()
    assert not hasattr(ManifestContext.to_dict.dbts_own, "dbts_own")
