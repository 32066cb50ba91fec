"""The time at which a row was first committed: from the log, for new rows only, never a guess."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from loader import Options, load
from loader.watch.changes import MOST_KEYS, Heard
from support.one_run import own
from support.watched import Watched, ended, settled
from tools.servers import Server

TABLES = """
create table orders (ordernumber int primary key, v varchar(20));
create table details (o int, n int, v int, primary key (o, n));
insert into orders values (1, 'before'), (2, 'before')
"""
TIMES = "select row_key, committed_at, batch_id from raw._load_commits order by length(row_key), 1"
# What a second of MariaDB's log, and clocks of one machine, may be apart.
APART = timedelta(seconds=1.5)


@pytest.fixture(params=["logging_mariadb", "logging_postgres"])
def source(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


class Shop:
    """A shop of orders, and a watch of it that stores when they were committed."""

    def __init__(self, server: Server, target: Any, folder: Path) -> None:
        self.server, self.target, self.name = server, target, own("commits")
        url = server.create_database(self.name)
        self.run(TABLES)
        self.watched = Watched(url, target.arguments, target.environment, folder / "log")

    def run(self, sql: str) -> datetime:
        """Run it in the shop, and say when it had ended."""
        self.server.execute(sql, self.name)
        return datetime.now(UTC).replace(tzinfo=None)

    def begin(self, *arguments: str) -> None:
        self.watched.start("--commit-times", "Orders,details,gone", *arguments)
        self.watched.wait_for("as the source")

    def times(self) -> dict[str, datetime]:
        """By key, when raw has settled; each is stored once, by the load that wrote the row."""
        settled(self.watched, self.target.opened)
        rows = self.target.ask(TIMES)
        stored = {row[0]: row[1] for row in rows}
        assert len(stored) == len(rows)
        for key, _, batch in rows:
            written = f"select _batch_id >= '{batch}' from raw.orders where ordernumber = {key}"
            assert self.target.ask(written) == [(True,)]
        return stored


@pytest.fixture
def shop(source: Server, target: Any, tmp_path: Path) -> Iterator[Shop]:
    found = Shop(source, target, tmp_path)
    with ended(found.watched):
        yield found
        found.watched.kill()
        found.watched.call("unwatch")


@pytest.mark.parametrize("target", ["duckdb", "postgres"], indirect=True)
def test_a_new_row_has_the_time_of_its_first_commit(shop: Shop) -> None:
    shop.begin()
    assert shop.times() == {}
    # The commit's time, not that of the statement; the first one, though rows change afterwards.
    sleep = "select sleep(2.5)" if shop.server.scheme == "mysql" else "select pg_sleep(2.5)"
    ended_at = {
        "3": shop.run(f"begin; insert into orders values (3, 'slow'); {sleep}; commit"),
        "4": shop.run("insert into orders values (4, 'new')"),
    }
    time.sleep(2)
    shop.run("update orders set v = 'later'; insert into details values (3, 1, 1)")
    found = shop.times()
    assert found.keys() == ended_at.keys()
    assert all(ended_at[key] - APART < at <= ended_at[key] for key, at in found.items()), found
    # Another key is another row; one that was there before is none.
    ended_at["5"] = shop.run("update orders set ordernumber = 5 where ordernumber = 4")
    assert shop.times().keys() == ended_at.keys()


@pytest.mark.parametrize("target", ["duckdb"], indirect=True)
def test_a_row_that_raw_has_known_gets_no_time(shop: Shop) -> None:
    shop.begin()
    said = shop.watched.said
    assert "when rows of details were committed is not stored: its key has 2 columns" in said
    assert "when rows of gone were committed is not stored: the source has no such table" in said
    shop.run("delete from orders where ordernumber = 1")
    shop.run("insert into orders values (3, 'three')")
    first = shop.times()
    shop.run("delete from orders where ordernumber = 3")
    shop.times()
    time.sleep(1.2)
    shop.run("insert into orders values (1, 'again'), (3, 'again')")
    assert shop.times() == first and first.keys() == {"3"}
    # A load that comes before the watch knows no time, and the watch then gives none either.
    shop.watched.end()
    shop.run("insert into orders values (6, 'six')")
    load(shop.watched.url, shop.target.opened(), Options())
    at = shop.run("insert into orders values (7, 'seven')")
    shop.watched.start("--commit-times", "orders")
    shop.watched.wait_for("reads on from")
    found = shop.times()
    assert found.keys() == {"3", "7"} and at - APART < found["7"] <= at
    # A table that is compared as a whole tells no time.
    many = ", ".join(f"({n}, 'many')" for n in range(100, 101 + MOST_KEYS))
    shop.run(f"insert into orders values {many}")
    assert shop.times() == found
    shop.run("alter table orders add column more int; insert into orders values (8, 'eight', 1)")
    assert shop.times() == found


@pytest.mark.parametrize("target", ["duckdb"], indirect=True)
def test_without_a_log_there_is_no_time(shop: Shop) -> None:
    shop.begin("--mode", "poll", "--every", "1s")
    assert "details, gone were committed is not stored: only a log tells it" in shop.watched.said
    shop.run("insert into orders values (3, 'three')")
    assert shop.times() == {}


def test_each_load_makes_the_table(source: Server, into_duckdb: Any) -> None:
    name = own("commits")
    url = source.create_database(name)
    source.execute(TABLES, name)
    load(url, into_duckdb.opened(), Options())
    assert into_duckdb.ask(TIMES) == []


def test_what_was_heard_of_a_table_that_is_compared_is_forgotten() -> None:
    pending = Heard()
    key, other = (b"1",), (b"2",)

    def transaction(at: float, keys: list[tuple[bytes, ...]]) -> Heard:
        heard = Heard(at=at)
        for table in ("orders", "details"):
            for found in keys:
                heard.row(table, found, exists=True)
        return heard

    pending.add(transaction(1.5, [key]), ("orders",))
    pending.add(transaction(2.5, [key, other]), ("orders",))
    assert pending.times == {"orders": {key: 1.5, other: 2.5}}
    pending.whole("orders", "for a reason")
    pending.add(transaction(3.5, [(b"3",)]), ("orders",))
    assert pending.times == {}
