"""Warehouses over the sample shop that are built once for all processes of a run, and copied."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from loader import run
from sample_shop.shop import create_shop, play_events
from support.one_run import once, own
from support.project import DuckDBWarehouse, PostgresWarehouse, Project, ShimWarehouse, Warehouse

# What the shops and the marts take for today; docs/questions.md and README.md show its figures.
DAY = date(2026, 11, 20)
# When the loads were, of which the second one found more. At different hours of the day.
LOADS = (datetime(2026, 11, 19, 6, 30), datetime(2026, 11, 20, 14, 5, 0, 120))
EVENTS = 40


def load_at(warehouse: Warehouse, url: str, moment: datetime) -> None:
    """Load as if it was that moment (UTC): a version begins, and its key is made, with its load."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "_now", lambda: moment)
        warehouse.load(url)


def shop(variant: str) -> Path:
    """The SQLite file of a shop: `new`, or `changed` by events. Only to be read."""

    def make(folder: Path) -> None:
        url = f"sqlite:///{folder / 'shop.sqlite'}"
        if variant == "new":
            create_shop(url, as_of=DAY)
        else:
            shutil.copyfile(shop("new"), folder / "shop.sqlite")
            assert play_events(url, EVENTS, as_of=DAY)

    return once(f"shop_{variant}", make) / "shop.sqlite"


@dataclass(frozen=True)
class Copy:
    """A copy of a built warehouse, and what dbt said of each node of the last build."""

    warehouse: Warehouse
    messages: Mapping[str, str]


class BuiltWarehouses:
    """Copies of the shops' warehouses: `new` after a load and a build, `changed` after another."""

    def __init__(self, fixture: Callable[[str], Any]) -> None:
        self._fixture = fixture  # the server of a warehouse, where it is asked for

    def copy(self, target: str, variant: str, name: str, folder: Path) -> Copy:
        """A copy that is the caller's own: a file in that folder, or a database of that name."""
        made = self._made(target, variant)
        warehouse = self._warehouse(target, own(name), folder, variant)
        return Copy(warehouse, json.loads((made / "messages.json").read_text("utf-8")))

    def _made(self, target: str, variant: str) -> Path:
        def make(folder: Path) -> None:
            before = "" if variant == "new" else "new"
            warehouse = self._warehouse(target, f"built_{target}_{variant}", folder, before)
            load_at(warehouse, f"sqlite:///{shop(variant)}", LOADS[variant == "changed"])
            tests = UNTESTED.get((target, variant), ())
            outcome = Project(folder / "project", as_of=DAY).dbt(warehouse, "build", *tests)
            assert outcome.green and not outcome.failed, outcome
            (folder / "messages.json").write_text(json.dumps(outcome.messages), "utf-8")

        return once(f"built_{target}_{variant}", make)

    def _warehouse(self, target: str, name: str, folder: Path, template: str) -> Warehouse:
        """A warehouse that is new, or a copy of a built one."""
        made = self._made(target, template) if template else None
        if target == "duckdb":
            if made:
                shutil.copyfile(made / "warehouse.duckdb", folder / "warehouse.duckdb")
            return DuckDBWarehouse(folder / "warehouse.duckdb")
        postgres = self._fixture("postgres")
        template = template and f"built_{target}_{template}"
        if target == "postgres":
            return PostgresWarehouse(postgres, name, template)
        return ShimWarehouse(self._fixture("shim"), postgres, name, template)


# Where tests say nothing new. Unit tests do not look at the shop: `make build` has them, on
# PostgreSQL in the long tests. Elsewhere than in a file all are slow: the second build has those of
# rows.
NO_UNIT_TESTS = ("--exclude-resource-type", "unit_test")
UNTESTED = {
    ("duckdb", "new"): NO_UNIT_TESTS,
    ("duckdb", "changed"): NO_UNIT_TESTS,
    ("postgres", "new"): ("--exclude-resource-type", "test", "unit_test"),
    ("postgres", "changed"): NO_UNIT_TESTS,
    ("redshift", "new"): ("--exclude-resource-type", "test", "unit_test"),
}
