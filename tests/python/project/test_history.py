"""History: whatever happens in the shop, the marts remember it, and say what is true.

    HISTORY_SEED=1234 HISTORY_ROUNDS=17 python -m pytest tests/python/test_history.py

plays a story again, up to the round that failed; a failure names both.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from random import Random

import pytest

from support.one_run import own
from support.project import PostgresWarehouse, Project
from support.story import AS_OF, begun, play_on_duckdb
from tools.servers import PostgresServer

pytestmark = pytest.mark.long

# Stories side by side, each of so many rounds.
STORIES = 2
ROUNDS = 100
POSTGRES_ROUNDS = 20


def chosen(rounds: int) -> tuple[int, int]:
    """Seed and number of rounds: from the environment, or a new seed."""
    seed = os.environ.get("HISTORY_SEED") or Random().randrange(10**6)
    return int(seed), int(os.environ.get("HISTORY_ROUNDS") or rounds)


def test_random_rounds_on_duckdb(tmp_path: Path) -> None:
    """After each round of events the incremental models and all histories are as they must be."""
    first, rounds = chosen(ROUNDS)
    seeds = [first] if "HISTORY_SEED" in os.environ else [first + n for n in range(STORIES)]
    print(f"seeds {seeds}, {rounds} rounds")
    with ProcessPoolExecutor(STORIES, mp_context=get_context("spawn")) as processes:
        playing = {
            seed: processes.submit(play_on_duckdb, tmp_path / str(seed), seed, rounds)
            for seed in seeds
        }
        failures = [
            f"HISTORY_SEED={seed}, {told.result()}"
            for seed, told in playing.items()
            if told.result()
        ]
    if failures:
        pytest.fail("\n".join(failures), pytrace=False)


def test_random_rounds_on_postgres(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """The same, with more events in fewer rounds."""
    seed, rounds = chosen(POSTGRES_ROUNDS)
    project = Project(tmp_path_factory.mktemp("project"), as_of=AS_OF)
    random = Random(seed)
    print(f"seed {seed}, {rounds} rounds")
    with begun(project, PostgresWarehouse(postgres, own("history")), tmp_path, random) as story:
        try:
            story.play(random, rounds)
        except AssertionError as error:
            pytest.fail(f"HISTORY_SEED={seed}, {error}", pytrace=False)
