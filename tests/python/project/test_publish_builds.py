"""`make build` on PostgreSQL: readers see the marts of one green build, whatever happens."""

from __future__ import annotations

import re
import sqlite3
import threading
from pathlib import Path

import psycopg
import pytest

from support.commands import script, tiny_project
from support.one_run import own
from tools.servers import PostgresServer

pytestmark = pytest.mark.long

BUILDS = 20
# Three marts, of which one is a view; and the history.
STATE = """
select
    (select sum(revenue_amount) from marts.fact_orders),
    (select sum(revenue_amount) from marts.product_performance),
    (select sum(revenue_amount) from marts.orders_obt),
    (select count(*) from marts.dim_customers),
    (select count(*) from snapshots.customers_snapshot)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_project(tmp_path_factory.mktemp("publish") / "project")


def change(project: Path, number: int, *, fails: str) -> None:
    """Let the shop do business, which some tests do not accept."""
    with sqlite3.connect(project / "shop.sqlite") as shop:
        shop.execute("update orders set comments = 'Fine.' where comments = 'It fails.'")
        shop.execute("update orders set status = 'Shipped' where status = 'Lost'")
        shop.execute(
            "update orderdetails set quantityOrdered = quantityOrdered + 1"
            " where orderLineNumber = 1"
        )
        shop.execute(
            "update customers set phone = ? where customerNumber % 7 = ?",
            (f"{number} {fails}", number % 7),
        )
        which = "where orderNumber = (select max(orderNumber) from orders where status = 'Shipped')"
        if fails == "late":
            shop.execute(f"update orders set comments = 'It fails.' {which}")
        elif fails == "early":
            shop.execute("update orders set status = 'Lost' where orderNumber % 2 = 0")


def test_readers_see_one_state_during_twenty_builds(
    project: Path, postgres: PostgresServer
) -> None:
    database = own("publish_builds")
    postgres.create_database(database)
    there = {"TARGET": "postgres", "AS_OF_DATE": "2026-11-20", **postgres.environment(database)}
    first = script(project, "build", **there)
    assert first.status == 0, first.out + first.err
    seen: set[tuple[object, ...]] = set()
    published: list[tuple[object, ...]] = []
    done, failures = threading.Event(), list[Exception]()

    def state() -> tuple[object, ...]:
        with psycopg.connect(postgres.url(database)) as connection:
            (found,) = connection.execute(STATE).fetchall()
        return found

    def read() -> None:
        try:
            with psycopg.connect(postgres.url(database), autocommit=True) as reader:
                reader.execute("set statement_timeout = '20s'")
                while not done.wait(0.05):
                    seen.update(reader.execute(STATE).fetchall())
        except Exception as error:  # a reader is never refused
            failures.append(error)

    published.append(state())
    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for number in range(1, BUILDS + 1):
            fails = {1: "late", 3: "early"}.get(number % 5, "")
            change(project, number, fails=fails)
            build = script(project, "build", **there)
            assert (build.status == 0) == (not fails), build.out + build.err
            if not fails:
                published.append(state())
            else:
                assert "Traceback" not in build.out + build.err
                assert build.steps["publish"].startswith("nothing: marts and history are what")
                assert "make build" in build.out and "dbt retry" not in build.out
                query = re.search(r"^    query: (\S+)$", build.out, re.MULTILINE)
                assert query and '"working"' in (project / query[1]).read_text("utf-8")
            assert state() == published[-1]
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert failures == []
    assert seen == set(published) and len(seen) == len(published) == 1 + BUILDS * 3 // 5
    assert all(orders == products == wide for orders, products, wide, *_ in seen)
