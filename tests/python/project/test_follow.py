"""Marts that follow a shop: `make watch` as a person runs it."""

import time
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from support.followed import (
    Followed,
    business,
    copied_database,
    copied_file,
    differences,
    ended,
    place_of,
)
from tools.servers import MariaDBServer, PostgresServer

TARGETS = pytest.mark.parametrize("target", ["duckdb", "postgres"], indirect=True)
ROUNDS, MANY_ROUNDS, KILLS = 4, 40, 8


def copy_of(target: Any, postgres: PostgresServer) -> Any:
    """How to copy a warehouse."""
    place = place_of(target)
    if "DUCKDB_PATH" in place:
        return copied_file(Path(place["DUCKDB_PATH"]))
    return copied_database(postgres, place["PGDATABASE"])


@pytest.mark.parametrize(
    "target", ["duckdb", pytest.param("postgres", marks=pytest.mark.long)], indirect=True
)
def test_marts_follow(
    logging_mariadb: MariaDBServer, postgres: PostgresServer, target: Any, tmp_path: Path
) -> None:
    """All marts are as after a full refresh, and make build has nothing left to do.

    A test that fails is told at once, and stops nothing.
    """
    with ended(Followed(logging_mariadb, place_of(target), target.ask, tmp_path)) as followed:
        followed.start("--slow", "5s")
        followed.wait_until_it_follows()
        business(followed, ROUNDS, Random(1))
        test = "the test order_quantities_are_positive"
        followed.sells(0)
        followed.wait_for(lambda: f"{test} failed: 1 row" in followed.said)
        followed.happens(5)
        followed.sells(7)
        followed.wait_for(lambda: f"{test} finds nothing any more" in followed.said)
        marts = followed.settle()
        assert (marts["state"], marts["failed"]) == ("follow", [])
        assert "sales_daily" in marts["slow"]["seconds_by_model"]
        assert "fact_orders" not in marts["slow"]["seconds_by_model"]
        state, status = followed.page("/state"), followed.page("/status")
        code, seconds = followed.end()
        assert code == 0 and seconds < 5, f"exit code {code} after {seconds:.1f} s\n{followed.said}"
        assert (state["error"], state["failed"], status["marts"]["is_green"]) == ("", [], True)
        days = "select order_date, sum(revenue_amount) from marts.sales_by_hour group by 1"
        shown = {d["day"]: Decimal(d["revenue"]) for d in state["figures"]["days"]}
        assert {str(day): revenue for day, revenue in target.ask(days)}.items() <= shown.items()
        assert any(order["is_commit"] for order in state["figures"]["orders"])
        assert "complete build is tried" not in followed.said, followed.said
        assert "Traceback" not in followed.said
        assert differences(followed, copy_of(target, postgres)) == []
        said = followed.run("scripts/build.py")
        assert "everything was built" not in said


@pytest.mark.long
@TARGETS
def test_random_rounds_of_marts(
    logging_postgres: PostgresServer, postgres: PostgresServer, target: Any, tmp_path: Path
) -> None:
    """The same with many batches, and slow builds between them."""
    with ended(Followed(logging_postgres, place_of(target), target.ask, tmp_path)) as followed:
        followed.start("--slow", "12s")
        followed.wait_until_it_follows()
        business(followed, MANY_ROUNDS, Random(2))
        followed.settle()
        followed.end()
        assert "complete build is tried" not in followed.said, followed.said
        assert differences(followed, copy_of(target, postgres)) == []


@pytest.mark.long
@TARGETS
def test_killed_while_marts_follow(
    logging_mariadb: MariaDBServer, postgres: PostgresServer, target: Any, tmp_path: Path
) -> None:
    """Whenever it is killed, the next start brings all marts to where they must be."""
    random = Random(3)
    with ended(Followed(logging_mariadb, place_of(target), target.ask, tmp_path)) as followed:
        for times in range(1, KILLS + 1):
            followed.start("--slow", "6s")
            followed.wait_until_it_follows(times)
            followed.happens(random.choice((1, 5, 12)))
            followed.happens(2)
            time.sleep(random.uniform(0.2, 6.0))
            followed.kill()
        followed.start("--slow", "6s")
        followed.wait_until_it_follows(KILLS + 1)
        followed.settle()
        followed.end()
        assert differences(followed, copy_of(target, postgres)) == []
