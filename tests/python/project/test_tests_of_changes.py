"""Tests that look at what has changed only: they find what tests of everything find.

With HISTORY_SEED and HISTORY_ROUNDS a story is played again; a failure names both.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from support.planned_rounds import chosen
from support.project import DuckDBWarehouse, Project
from support.story import AS_OF, MANY_EVENTS, SelectiveStory, begun

ROUNDS = 4
KNOWN_SEED = 7
KEPT = ("macros/incremental/begin_run.sql", " forget_changes(beside, is_end=true),", "")
# Faults in what marts make of changes: file, text, what is planted, and the test that sees it.
PLANTED = {
    "orders that are new": (
        (
            "macros/incremental/kept_changes.sql",
            ") as changed_{{ loop.index }}\n",
            ") as changed_{{ loop.index }} where change = -1\n",
        ),
        "customer_product_interactions_reconcile_with_fact_orders_per_product",
    ),
    "rows that are over stay": (
        (
            "macros/incremental/get_incremental_whole_sql.sql",
            "    {{ remove_rows(arg_dict, condition, before) }}\n",
            "",
        ),
        "payment_matches_reconcile_with_the_facts_per_customer",
    ),
    "payments count twice": (
        (
            "models/marts/finance/payments_monthly.sql",
            "count(*) as payment_count,\n        count(distinct",
            "2 * count(*) as payment_count,\n        count(distinct",
        ),
        "payments_monthly_reconcile_with_the_facts",
    ),
}


@pytest.fixture
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"), as_of=AS_OF)


@pytest.mark.long
@pytest.mark.parametrize(("edit", "test"), PLANTED.values(), ids=PLANTED)
def test_tests_of_what_changed_see_a_fault(
    edit: tuple[str, str, str], test: str, project: Project, tmp_path: Path
) -> None:
    """A mart that follows its changes wrongly differs from its parents."""
    warehouse = DuckDBWarehouse(tmp_path / "warehouse.duckdb")
    random = Random(KNOWN_SEED)
    with begun(project, warehouse, tmp_path, random, SelectiveStory) as story:
        story.happen(random, MANY_EVENTS[-1])
        with (
            project.edited([edit]),
            pytest.raises(pytest.fail.Exception, match=f"{test}: Got [0-9]+ result"),
        ):
            story.build()


@dataclass
class TestedStory(SelectiveStory):
    """A story after each build of which its tests are compared with tests of everything."""

    __test__ = False  # not a class of tests
    counts: Counter[str] = field(default_factory=Counter)  # by test: what it found before

    def succeed(self, *arguments: str) -> None:
        super().succeed(*arguments)
        some = self.found() if os.environ.get("BUILT_THROUGH") else None
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("TESTED_THROUGH", raising=False)
            before, self.counts = self.counts, self.found()
        if some is not None:
            new = self.counts - before
            print(f"new: {dict(new)}")
            assert not new - some and not some - self.counts, (new, some, self.counts)

    def found(self) -> Counter[str]:
        """By test: how many rows it finds."""
        outcome = self.project.dbt(self.warehouse, "test", "--exclude-resource-type", "unit_test")
        counts = Counter[str]()
        for name in outcome.failed | outcome.warned:
            counts[name] = int(re.findall(r"Got (\d+) result", outcome.messages[name])[0])
        return counts


@pytest.mark.long
def test_they_find_what_tests_of_everything_find(project: Project, tmp_path: Path) -> None:
    seed, rounds = chosen(ROUNDS)
    random = Random(seed)
    warehouse = DuckDBWarehouse(tmp_path / "warehouse.duckdb")
    with (
        project.edited([KEPT]),  # so that tests after a build see what it changed
        begun(project, warehouse, tmp_path, random, TestedStory) as story,
    ):
        try:
            story.play(random, rounds, MANY_EVENTS)
        except AssertionError as error:
            pytest.fail(f"HISTORY_SEED={seed}, {error}", pytrace=False)
