"""From the commit of an order in the shop to its hour in the marts, over log, watch and builds."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sample_shop.shop import create_shop
from support.built import DAY
from support.one_run import own
from support.project import RAW_SCHEMA, DuckDBWarehouse, Project
from support.watched import PATIENCE, Watched, ended
from tools.servers import Server

LIVE = ("--select", "tag:live", "--exclude-resource-type", "unit_test")
HOURS = """
select order_date, sales_hour_at, is_hour_known, sum(line_count), sum(revenue_amount)
from marts.sales_by_hour group by 1, 2, 3 order by 1, 2
"""
LIVES = """
select order_number, first_seen_at, is_first_seen_in_log from marts.fact_order_life
where order_number > 900000 order by 1
"""


class Watching(Watched):
    """A watch that writes where the models read."""

    def command(self, *arguments: str) -> list[str]:
        return [*super().command(*arguments)[:-1], RAW_SCHEMA]


@pytest.fixture(
    params=["logging_mariadb", pytest.param("logging_postgres", marks=pytest.mark.long)]
)
def source(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


class Shop:
    """The sample shop on a server with a log, followed into a warehouse."""

    def __init__(self, source: Server, folder: Path) -> None:
        self.source, self.name = source, own("hours")
        self.url = source.create_database(self.name)
        create_shop(self.url, as_of=DAY)
        self.warehouse = DuckDBWarehouse(folder / "w.duckdb")
        ((self.customer,),) = self.asked("select min({}) from customers", "customerNumber")
        self.products = [row[0] for row in self.asked("select {} from products", "productCode")]
        arguments = ["--target", "duckdb", "--duckdb-path", str(self.warehouse.path)]
        self.watched = Watching(self.url, arguments, {}, folder / "log")

    def asked(self, sql: str, column: str) -> list[tuple[Any, ...]]:
        """What the shop says; its columns have capital letters."""
        quoted = f"`{column}`" if self.source.scheme == "mysql" else f'"{column}"'
        return self.source.execute(sql.format(quoted), self.name)

    def order(self, number: int, lines: int) -> datetime:
        """A customer orders; returns when that was committed."""
        rows = ", ".join(
            f"({number}, '{product}', 2, 10.50, {n})"
            for n, product in enumerate(self.products[:lines], 1)
        )
        self.source.execute(
            "begin;"
            f"insert into orders values"
            f" ({number}, '{DAY}', '{DAY}', null, 'In Process', null,"
            f" {self.customer});"
            f"insert into orderdetails values {rows}; commit",
            self.name,
        )
        return datetime.now(UTC).replace(tzinfo=None)

    def follow(self, *numbers: int) -> None:
        """Let a watch run until these orders are in raw; it is ended, so that dbt may write."""
        self.watched.start("--commit-times", "orders")
        self.watched.wait_for("as the source" if not numbers else "reads on from")
        listed = ", ".join(map(str, numbers)) or "-1"
        there = f"select count(*) from {RAW_SCHEMA}.orders where ordernumber in ({listed})"
        deadline = time.monotonic() + PATIENCE
        while self.count(there) != len(numbers):
            assert time.monotonic() < deadline, self.watched.said
            time.sleep(0.1)
        assert self.watched.end()[0] == 0

    def count(self, sql: str) -> int:
        """The answer; -1 while a batch has the file."""
        try:
            ((found,),) = self.ask(sql)
        except duckdb.Error:
            return -1
        return int(found)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.warehouse.path), read_only=True) as connection:
            rows: list[tuple[Any, ...]] = connection.execute(sql).fetchall()
            return rows


def test_the_hour_of_an_order_is_that_of_its_commit(
    source: Server, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    project = Project(tmp_path_factory.mktemp("project"), as_of=DAY)
    shop = Shop(source, tmp_path)
    with ended(shop.watched):
        shop.follow()
        build(project, shop, "--full-refresh", "--select", "+tag:live", "+sales_daily")
        assert {row[1:3] for row in shop.ask(HOURS)} == {(None, False)}
        committed = {900_001: shop.order(900_001, 2)}
        shop.follow(900_001)
        build(project, shop, *LIVE)
        # Another batch does not change what is known of the first.
        committed[900_002] = shop.order(900_002, 1)
        shop.follow(900_001, 900_002)
        build(project, shop, *LIVE)
        lives, hours = shop.ask(LIVES), shop.ask(HOURS)
        for (number, seen_at, is_in_log), (key, at) in zip(lives, committed.items(), strict=True):
            assert (number, is_in_log) == (key, True)
            assert at - timedelta(seconds=1.5) < seen_at <= at
        known = [row for row in hours if row[2]]
        assert sum(row[3] for row in known) == 3 and sum(row[4] for row in known) == 63
        assert {row[1] for row in known} == {
            seen_at.replace(minute=0, second=0, microsecond=0) for _, seen_at, _ in lives
        }
        build(project, shop, "--full-refresh", "--select", "+tag:live", "+sales_daily")
        assert (shop.ask(LIVES), shop.ask(HOURS)) == (lives, hours)


def build(project: Project, shop: Shop, *arguments: str) -> None:
    # Tests of marts that are not built here would fail.
    cautious = ("--indirect-selection", "cautious")
    outcome = project.dbt(shop.warehouse, "build", *cautious, *arguments)
    assert outcome.green, outcome
