"""History: whatever happens in the shop, the marts remember it, and say what is true.

    HISTORY_SEED=1234 HISTORY_ROUNDS=17 python -m pytest tests/python/project/test_history.py

plays a story again, up to the round that failed; a failure names both.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest

from support.one_run import own
from support.planned_rounds import KNOWN_ROUNDS, KNOWN_SEED, PLANNED, chosen
from support.project import DuckDBWarehouse, PostgresWarehouse, Project, Warehouse
from support.story import AS_OF, MANY_EVENTS, SelectiveStory, Story, begun
from tools.servers import PostgresServer

# Stories side by side, each of so many rounds.
STORIES = 4
ROUNDS = 50
POSTGRES_ROUNDS = 20
SELECTIVE_ROUNDS = 40
SELECTIVE_KNOWN = 7, 4  # seed and rounds


@pytest.fixture
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"), as_of=AS_OF)


def play(
    project: Project,
    warehouse: Warehouse,
    folder: Path,
    seed: int,
    rounds: int,
    *events: int,
    kind: type[Story] = Story,
    planned: Sequence[Callable[[Story], list[str]]] = (),
) -> None:
    random = Random(seed)
    print(f"seed {seed}, {rounds} rounds")
    with begun(project, warehouse, folder, random, kind) as story:
        try:
            story.play(random, rounds, events, planned)
        except AssertionError as error:
            pytest.fail(f"HISTORY_SEED={seed}, {error}", pytrace=False)


def test_rounds_of_a_known_story(project: Project, tmp_path: Path) -> None:
    """After each round of events the incremental models and all histories are as they must be.

    planted_in_history.py shows which faults these rounds see.
    """
    warehouse = DuckDBWarehouse(tmp_path / "warehouse.duckdb")
    play(project, warehouse, tmp_path, KNOWN_SEED, KNOWN_ROUNDS, *MANY_EVENTS, planned=PLANNED)


@pytest.mark.long
@pytest.mark.parametrize("story", range(STORIES))
def test_random_rounds_on_duckdb(story: int, project: Project, tmp_path: Path) -> None:
    """The same, in many rounds of few events, so that a failure has few causes."""
    seed, rounds = chosen(ROUNDS)
    if story and "HISTORY_SEED" in os.environ:
        pytest.skip("it is played once")
    warehouse = DuckDBWarehouse(tmp_path / "warehouse.duckdb")
    play(project, warehouse, tmp_path, seed, rounds)


@pytest.mark.long
def test_random_rounds_on_postgres(
    postgres: PostgresServer, project: Project, tmp_path: Path
) -> None:
    """The same, with more events in fewer rounds."""
    seed, rounds = chosen(POSTGRES_ROUNDS)
    warehouse = PostgresWarehouse(postgres, own("history"))
    play(project, warehouse, tmp_path, seed, rounds, *MANY_EVENTS)


def test_known_rounds_of_builds_of_what_changed(project: Project, tmp_path: Path) -> None:
    """All marts are as after a whole build, although each build goes on from the last one."""
    warehouse = DuckDBWarehouse(tmp_path / "warehouse.duckdb")
    seed, rounds = SELECTIVE_KNOWN
    play(project, warehouse, tmp_path, seed, rounds, *MANY_EVENTS, kind=SelectiveStory)


@pytest.mark.long
def test_random_rounds_of_builds_of_what_changed(project: Project, tmp_path: Path) -> None:
    """All marts are as after a whole build, although each build makes a part of them."""
    seed, rounds = chosen(SELECTIVE_ROUNDS)
    warehouse = DuckDBWarehouse(tmp_path / "warehouse.duckdb")
    play(project, warehouse, tmp_path, seed, rounds, kind=SelectiveStory)
