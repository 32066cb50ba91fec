"""What happens to a warehouse of PostgreSQL while a watch writes into it."""

from __future__ import annotations

import os
import random
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from loader import PostgresDestination
from loader.watch.mysql import MySQLLog
from loader.watch.postgres import PostgresLog
from loader.watch.postgres_rights import slot_name
from support.inside import Inside
from support.logging_servers import Target
from support.network import network
from support.one_run import own
from support.outages import SOON, Shop, exact, trouble, troubles, until
from support.watched import Watched, ended, settled
from tools.servers import MariaDBServer, PostgresServer

pytestmark = pytest.mark.long
KILLS = int(os.environ.get("WATCH_KILLS", 6))


@pytest.fixture
def warehouse(logging_postgres: PostgresServer) -> Target:
    """An empty database of a server that this test may end."""
    name = own("warehouse")
    url = logging_postgres.create_database(name)
    options: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(url)
    return Target(
        ["--target", "postgres"],
        lambda: PostgresDestination("raw", **{k: str(v) for k, v in options.items()}),
        lambda sql: logging_postgres.execute(sql, name),
        logging_postgres.environment(name),
    )


def test_the_warehouse_is_killed(
    logging_mariadb: MariaDBServer, logging_postgres: PostgresServer, warehouse: Target
) -> None:
    """At random, while the shop is busy; a batch is there as a whole or not at all."""
    shop, choose = Shop(logging_mariadb, warehouse), random.Random(6)
    inside = Inside(shop.url, warehouse, MySQLLog(shop.url))
    with inside.running():
        exact(shop, inside.said)
        for number in range(KILLS):
            with shop.busy(number):
                time.sleep(choose.uniform(0.2, 2.0))
                said = len(inside.said)
                logging_postgres.kill()
                trouble(inside, said)
                time.sleep(choose.uniform(0.0, 1.0))
                logging_postgres.start()
            exact(shop, inside.said)
            # What was lost, and then that nothing answers; not each attempt.
            assert 1 <= len(troubles(inside.said[said:])) <= 3, inside.said[said:]
    assert "Traceback" not in str(inside.said)
    assert str(inside.said).count("all tables are compared") == 1, inside.said


def test_the_warehouse_is_full(
    logging_mariadb: MariaDBServer,
    logging_postgres: PostgresServer,
    warehouse: Target,
    tmp_path: Path,
) -> None:
    """As far as files of the server may grow: PostgreSQL takes that for a disk without room.

    At first the staged rows do not fit. Later they do, and the raw table does not.
    """
    shop = Shop(logging_mariadb, warehouse)
    watched = Watched(shop.url, warehouse.arguments, warehouse.environment, tmp_path / "log")
    with ended(watched):
        watched.start("--every", "1s", "--audit", "0")
        settled(watched, warehouse.opened)
        for first, rows in ((1_000, 13_000), (20_000, 7_000)):
            # New sessions have it; the log's files have 16 MiB from the beginning.
            _limit(logging_postgres, str(17 * 2**20))
            shop.run(
                f"insert into o select seq, null, seq, repeat(uuid(), 50)"
                f" from seq_{first}_to_{first + rows}; delete from o where id = {first}"
            )
            said = watched.said
            until(
                lambda said=said: "File too large" in watched.said[len(said) :],  # type: ignore[misc]
                *(SOON, lambda: watched.said),
            )
            time.sleep(2.0)
            assert watched.said[len(said) :].count("It tries again.") == 1, watched.said
            _limit(logging_postgres, "unlimited")
            settled(watched, warehouse.opened)
    assert "Traceback" not in watched.said
    assert watched.said.count("all tables are compared") == 1, watched.said
    print(watched.said)


def _limit(server: PostgresServer, size: str) -> None:
    command = ["prlimit", "--pid", str(server.pid), f"--fsize={size}:unlimited"]
    subprocess.run(command, check=True, **server._as_owner())


def test_no_second_watch_after_the_warehouse_was_killed(
    logging_mariadb: MariaDBServer,
    logging_postgres: PostgresServer,
    warehouse: Target,
    tmp_path: Path,
) -> None:
    """The lock is one of a session, which has ended with the server."""
    shop = Shop(logging_mariadb, warehouse)
    first, second = (
        Watched(shop.url, warehouse.arguments, warehouse.environment, tmp_path / name)
        for name in ("first", "second")
    )
    with ended(first), ended(second):
        first.start("--audit", "0")
        settled(first, warehouse.opened)
        logging_postgres.kill()
        logging_postgres.start()
        shop.run("insert into p values (1, 'one')")
        settled(first, warehouse.opened)
        second.start("--audit", "0")
        until(lambda: not second.alive, SOON, lambda: second.said)
        assert "is writing into" in second.said
        # Where a second one was faster, the first one writes nothing.
        logging_postgres.kill()
        logging_postgres.start()
        second.start("--audit", "0")
        second.wait_for("reads on from")
        shop.run("insert into p values (2, 'two')")
        first.wait_for("The server lost the watch's lock, and meanwhile")
        settled(second, warehouse.opened)
        second.kill()
        said = first.said
        shop.run("insert into p values (3, 'three')")
        settled(first, warehouse.opened)
    assert "it goes on" in first.said[len(said) :]
    assert "Traceback" not in first.said + second.said


def test_two_machines_with_warehouses_of_one_address(
    logging_postgres: PostgresServer, postgres: PostgresServer, tmp_path: Path
) -> None:
    """Both say 127.0.0.1, and the same port and database; each has its own slot in the source."""
    shop, name = Shop(logging_postgres, None), own("both")
    targets = []
    with network(0) as between:
        for server in (logging_postgres, postgres):
            options = psycopg.conninfo.conninfo_to_dict(server.create_database(name))
            opened = partial(PostgresDestination, "raw", **options)  # type: ignore[arg-type]
            environment = server.environment(name) | {"PGPORT": str(between.port)}
            ask = partial(server.execute, database=name)
            targets.append((server, Target(["--target", "postgres"], opened, ask, environment)))
        for _ in range(2):
            for number, (server, target) in enumerate(targets):
                between.lead_to(server.port)
                log = tmp_path / f"{number}"
                watched = Watched(shop.url, target.arguments, target.environment, log)
                with ended(watched):
                    watched.start("--audit", "0", "--every", "1s")
                    settled(watched, target.opened)
                    shop.run("insert into p select count(*), 'more' from p")
                    settled(watched, target.opened)
                    watched.end()
                assert watched.said.count("all tables are compared") == 1, watched.said
    slots = f"select slot_name from pg_replication_slots where database = '{shop.name}'"
    found = [slot for (slot,) in logging_postgres.execute(slots)]
    assert len(found) == 2
    for slot in found:
        logging_postgres.execute(f"select pg_drop_replication_slot('{slot}')")


def test_a_slot_of_another_name_is_read_on(
    logging_postgres: PostgresServer, into_duckdb: Target
) -> None:
    """An earlier version named it so; where it is another warehouse's, a new one is made."""
    shop = Shop(logging_postgres, into_duckdb)
    slots = f"select slot_name from pg_replication_slots where database = '{shop.name}'"
    former = PostgresLog(shop.url, "former")
    said = []
    for log in (former, PostgresLog(shop.url, "new")):
        inside = Inside(shop.url, into_duckdb, log)
        with inside.running():
            shop.run("insert into p select count(*), 'more' from p")
            exact(shop, inside.said)
        said.append(inside.said)
        assert logging_postgres.execute(slots) == [(former.slot,)]
    assert "all tables are compared" not in str(said[1])
    former.drop()
    shop.run(f"select pg_create_logical_replication_slot('{former.slot}', 'pgoutput')")
    inside = Inside(shop.url, into_duckdb, new := PostgresLog(shop.url, "new"))
    with inside.running():
        shop.run("insert into p select count(*), 'more' from p")
        exact(shop, inside.said)
    assert "or something else read from it" in str(inside.said)
    assert set(logging_postgres.execute(slots)) == {(former.slot,), (slot_name("new"),)}
    former.drop()
    new.drop()


@pytest.mark.usefixtures("impatient")
def test_the_network_to_the_warehouse_is_silent(
    logging_mariadb: MariaDBServer, logging_postgres: PostgresServer, warehouse: Target
) -> None:
    """A proxy that takes everything and passes nothing on, for as long as it likes."""
    shop = Shop(logging_mariadb, warehouse)
    direct: PostgresDestination = warehouse.opened()  # type: ignore[assignment]
    with network(logging_postgres.port) as between:
        options = direct._options | {"port": str(between.port), "connect_timeout": "2"}
        behind = Target([], lambda: PostgresDestination("raw", **options), warehouse.ask)
        inside = Inside(shop.url, behind, MySQLLog(shop.url))
        with inside.running():
            exact(shop, inside.said)
            for number in range(3):
                with shop.busy(number):
                    time.sleep(0.5 + number / 7)
                    said = len(inside.said)
                    between.mute()
                    trouble(inside, said)
                    between.heal()
                exact(shop, inside.said)
    assert "Traceback" not in str(inside.said)
    assert str(inside.said).count("all tables are compared") == 1, inside.said
