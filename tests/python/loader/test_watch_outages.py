"""What happens around a watch: networks that are cut, sources killed, a clock, a full disk."""

from __future__ import annotations

import os
import random
import resource
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from loader import PostgresDestination, run
from loader.watch.mysql import MySQLLog
from support.inside import Inside
from support.network import BOTH, network
from support.outages import SOON, Shop, exact, trouble, troubles, until
from support.watched import Watched, ended, settled
from tools.servers import PostgresServer, Server

pytestmark = pytest.mark.long
SOURCES = pytest.mark.parametrize("source", ["mariadb", "postgres"])
TARGETS = pytest.mark.parametrize("target", ["duckdb", "postgres"], indirect=True)
KILLS = int(os.environ.get("WATCH_KILLS", 6))


@pytest.fixture
def server(source: str, request: pytest.FixtureRequest) -> Any:
    """The server that the test's parameter names."""
    return request.getfixturevalue(f"logging_{source}")


@SOURCES
@TARGETS
@pytest.mark.usefixtures("impatient")
def test_the_network_to_the_source_is_cut(server: Server, target: Any) -> None:
    """Reset, silent in one direction or in both, and packets that vanish; the shop is busy."""
    shop = Shop(server, target)
    with network(server.port) as between:
        url = shop.through(between)
        inside = Inside(url, target, shop.log(url))
        inside.watch.every = 1.0
        with inside.running():
            exact(shop, inside.said)
            cuts: list[Callable[[], None]] = [between.reset, between.vanish, between.mute]
            for number, cut in enumerate(cuts):
                with shop.busy(number):
                    time.sleep(0.5)
                    said = len(inside.said)
                    cut()
                    trouble(inside, said)
                    if number == 2:
                        between.reset()
                    between.heal()
                    time.sleep(0.5)
                exact(shop, inside.said)
            # A log that still speaks does not say that it is not heard itself.
            for way in BOTH:
                with shop.busy(len(way)):
                    time.sleep(0.5)
                    between.mute(way)
                    time.sleep(4.0)
                    between.heal()
                exact(shop, inside.said)
    # Where the log was read is still known.
    assert str(inside.said).count("all tables are compared") == 1, inside.said
    assert "Traceback" not in str(inside.said)
    shop.forget()


@SOURCES
@pytest.mark.usefixtures("impatient")
def test_a_statement_that_waits_is_not_a_dead_one(server: Server, into_duckdb: Any) -> None:
    """A snapshot may wait as long as the source is there, and ends soon when it is not."""
    shop = Shop(server, into_duckdb)
    is_mariadb = server.scheme == "mysql"
    lock = "lock tables w write" if is_mariadb else "begin; lock table w in access exclusive mode"
    waits = (
        "select id from information_schema.processlist where state like '%metadata lock%'"
        if is_mariadb
        else "select pid from pg_stat_activity where wait_event_type = 'Lock'"
    )
    left = (
        f"select id from information_schema.processlist where db = '{shop.name}'"
        if is_mariadb
        else f"select pid from pg_stat_activity where datname = '{shop.name}'"
        " and backend_type = 'client backend'"
    )
    with network(server.port) as between:
        inside = Inside(url := shop.through(between), into_duckdb, shop.log(url))
        inside.watch.every = 0.5
        with inside.running():
            exact(shop, inside.said)
            with shop.session() as run:
                run(lock)
                if is_mariadb:
                    run("insert into w values (7, 'seven')")
                until(lambda: bool(server.execute(waits)), SOON, lambda: inside.said)
                time.sleep(5.0)
                assert not troubles(inside.said)
                between.vanish()
                trouble(inside)
            between.heal()
            exact(shop, inside.said)
    if not is_mariadb:
        # Nor does the server hold a session of a network that is gone, or what that has locked.
        until(lambda: not server.execute(left), SOON, lambda: server.execute(left))
    shop.forget()


@pytest.mark.usefixtures("impatient")
def test_the_network_is_silent_while_the_source_is_asked(
    logging_postgres: PostgresServer, into_duckdb: Any
) -> None:
    """Beside the snapshot: what the publication has is asked on a connection of its own."""
    shop = Shop(logging_postgres, into_duckdb)
    with network(logging_postgres.port) as between:
        inside = Inside(url := shop.through(between), into_duckdb, shop.log(url))
        with inside.running():
            exact(shop, inside.said)
            with psycopg.connect(
                host="127.0.0.1", port=shop.server.port, dbname=shop.name,
                user=PostgresServer.administrator, password=shop.server.password,
            ) as other:  # fmt: skip
                other.execute("lock table pg_publication in access exclusive mode")
                shop.run("create table late (id int primary key)")
                waits = "select 1 from pg_stat_activity where wait_event_type = 'Lock'"
                until(lambda: bool(shop.server.execute(waits)), SOON, lambda: inside.said)
                time.sleep(4.0)
                assert not troubles(inside.said)
                between.mute()
                trouble(inside)
            between.heal()
            exact(shop, inside.said)
    shop.forget()


@pytest.mark.usefixtures("impatient")
def test_the_network_to_the_warehouse_is_cut(
    logging_mariadb: Server, into_postgres: Any, postgres: PostgresServer
) -> None:
    """Also in the middle of a batch, and its session in the warehouse ends too."""
    shop = Shop(logging_mariadb, into_postgres)
    with network(postgres.port) as between:
        direct: PostgresDestination = into_postgres.opened()
        options = direct._options | {"port": str(between.port), "connect_timeout": "2"}
        into_postgres.opened = lambda: PostgresDestination("raw", **options)
        inside = Inside(shop.url, into_postgres, MySQLLog(shop.url))
        into_postgres.opened = lambda: direct
        with inside.running():
            exact(shop, inside.said)
            for number, cut in enumerate((between.reset, between.vanish)):
                with shop.busy(number):
                    time.sleep(0.5)
                    said = len(inside.said)
                    # Again and again: between batches there is no connection to reset.
                    until(
                        lambda cut=cut, said=said: cut() or bool(troubles(inside.said[said:])),  # type: ignore[misc]
                        *(SOON, lambda: inside.said),
                    )
                    between.heal()
                exact(shop, inside.said)
            with shop.busy(3):
                time.sleep(0.5)
                between.mute()
                time.sleep(4.0)
                between.heal()
            exact(shop, inside.said)
            # A batch that waits for a lock in the warehouse.
            options_of_test = psycopg.conninfo.make_conninfo(**direct._options)
            with psycopg.connect(options_of_test) as other:
                other.execute("lock table raw.p in access exclusive mode")
                said = len(inside.said)
                shop.run("insert into p values (99, 'late')")
                waits = "select 1 from pg_stat_activity where wait_event_type = 'Lock'"
                until(lambda: bool(postgres.execute(waits)), SOON, lambda: inside.said)
                time.sleep(4.0)
                assert not troubles(inside.said[said:])
                between.vanish()
                trouble(inside, said)
            between.heal()
            exact(shop, inside.said)
    assert str(inside.said).count("all tables are compared") == 1, inside.said


def test_the_clock_goes_back(
    logging_mariadb: Server, into_duckdb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changes later is newer, so models that ask for newer rows see it."""
    shop, now = Shop(logging_mariadb, into_duckdb), run._now
    inside = Inside(shop.url, into_duckdb, MySQLLog(shop.url))
    with inside.running():
        shop.run("insert into p values (1, 'before')")
        exact(shop, inside.said)
        monkeypatch.setattr(run, "_now", lambda: now() - timedelta(hours=1))
        for n in (2, 3):
            shop.run(
                f"insert into p values ({n}, 'after'); update p set code = 'again {n}' where id = 1"
            )
            exact(shop, inside.said)
    stamps = into_duckdb.ask("select id from raw.p order by _loaded_at, id")
    assert stamps[0] == (2,), stamps
    assert len(into_duckdb.ask("select distinct _loaded_at from raw.p")) == 2
    assert not troubles(inside.said)


@SOURCES
def test_the_source_is_killed(server: Server, into_duckdb: Any) -> None:
    """At random, while the shop is busy; it prints how long the watch took to be as the source."""
    shop, choose = Shop(server, into_duckdb), random.Random(5)
    inside = Inside(shop.url, into_duckdb, shop.log(shop.url))
    inside.watch.every = 2.0
    with inside.running():
        exact(shop, inside.said)
        for number in range(KILLS):
            with shop.busy(number):
                time.sleep(choose.uniform(0.2, 2.0))
                server.kill()
                server.start()
                started = time.monotonic()
            exact(shop, inside.said)
            print(f"as the source {time.monotonic() - started:.1f} s after the start")
    assert "Traceback" not in str(inside.said)
    shop.forget()


def test_the_disk_is_full(logging_mariadb: Server, into_duckdb: Any, tmp_path: Path) -> None:
    """As far as files may grow, which is how a process sees a disk without room.

    Long texts do not fit into the staging file; shorter ones do, and then not into the warehouse.
    """
    shop = Shop(logging_mariadb, into_duckdb)
    watched = Watched(shop.url, into_duckdb.arguments, into_duckdb.environment, tmp_path / "log")
    with ended(watched):
        watched.start("--every", "1s", "--audit", "0")
        settled(watched, into_duckdb.opened)
        for first, times in ((1_000, 9), (20_000, 30)):
            watched.limit((tmp_path / "w.duckdb").stat().st_size)
            shop.run(
                f"insert into o select seq, null, seq, repeat(uuid(), {times})"
                f" from seq_{first}_to_{first + 9_000}; delete from o where id = {first}"
            )
            said = watched.said
            until(
                lambda said=said: "File too large" in watched.said[len(said) :],  # type: ignore[misc]
                *(SOON, lambda: watched.said),
            )
            time.sleep(2.0)
            watched.limit(resource.RLIM_INFINITY)
            settled(watched, into_duckdb.opened)
    assert "Traceback" not in watched.said
    assert watched.said.count("all tables are compared") == 1, watched.said
