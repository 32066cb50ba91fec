"""The sample shop in the warehouses that other tests copy: built, tested and green."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.built import BuiltWarehouses


# In this order two processes make them side by side.
@pytest.mark.parametrize("target", ["duckdb", "postgres"])
@pytest.mark.parametrize("variant", ["new", "changed"])
def test_shop_is_built_and_green(
    target: str, variant: str, built: BuiltWarehouses, tmp_path: Path
) -> None:
    copy = built.copy(target, variant, "built", tmp_path)
    assert copy.warehouse.query("select count(*) from marts.fact_orders")[0][0] > 500
