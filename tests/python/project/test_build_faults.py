"""Whatever happens to `make build`: readers see whole states, and the next build is right."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from loader.lock import BUSY
from support.commands import Started, assert_one_sentence, run, script, tiny_build
from support.one_run import own
from tools.servers import PostgresServer

pytestmark = pytest.mark.long

KILLS, BUILDS = 30, 20
# One moment of the fact and of a mart that is made of it.
STATE = (
    "select (select cast(sum(quantity_ordered) as bigint) from marts.fact_orders where is_revenue),"
    " (select cast(sum(unit_count) as bigint) from marts.product_performance)"
)
# What has no history must be the same as in a warehouse that is built at once.
PLAIN = (
    "select order_number, order_line_number, quantity_ordered, order_amount, order_status"
    " from marts.fact_orders order by 1, 2",
    "select product_code, msrp from marts.dim_products_current order by 1",
    "select product_code, unit_count from marts.product_performance order by 1",
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A tiny project that was built."""
    return Path(shutil.copytree(tiny_build(), tmp_path / "project"))


def trade(project: Path, number: int) -> int:
    """Change orders and prices of the shop; returns the units that it has sold then."""
    with sqlite3.connect(project / "shop.sqlite") as shop:
        shop.execute(
            "update orderdetails set quantityOrdered = quantityOrdered + 1"
            f" where orderNumber % 7 = {number % 7}"
        )
        shop.execute(f"update products set MSRP = MSRP + {number % 3 - 1}")
        ((units,),) = shop.execute(
            "select sum(quantityOrdered) from orderdetails join orders using (orderNumber)"
            " where status <> 'Cancelled'"
        )
    return int(units)


def start(project: Path, **variables: str) -> Started:
    return Started(project, "build", **variables)


def asked(path: Path, *queries: str) -> list[Any]:
    with duckdb.connect(str(path), read_only=True) as warehouse:
        return [warehouse.execute(query).fetchall() for query in queries]


@pytest.mark.long
@pytest.mark.parametrize("target", ["duckdb", "postgres"])
def test_killed_at_random_moments(
    target: str, project: Path, request: pytest.FixtureRequest
) -> None:
    """The warehouse is whole after each, and in the end as if nothing had happened."""
    variables: dict[str, str] = {}
    wanted: dict[str, str] = {}
    if target == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        server.create_database(own("build_kills"))
        variables = {"TARGET": "postgres", **server.environment(own("build_kills"))}
        wanted = {"BUILD": "all"}  # as the builds after a killed one do there
        first = script(project, "build", **variables)
        assert first.status == 0, first.out + first.err
    trade(project, KILLS + 1)
    began = time.monotonic()
    timed = script(project, "build", **variables, **wanted)
    assert timed.status == 0, timed.out + timed.err
    whole = time.monotonic() - began
    seed = random.randrange(10**6)
    print(f"seed {seed}, a build takes {whole:.1f} s")
    rng = random.Random(seed)
    file = project / "warehouse.duckdb"
    (before,) = asked(file, STATE)
    published = 0
    for number in range(KILLS):
        trade(project, number)
        process = start(project, **variables)
        time.sleep(rng.uniform(0.1, 1.1) * whole)
        process.kill()
        if target == "duckdb":
            (now,) = asked(file, STATE)
            assert now[0][0] == now[0][1]
            published += now != before
            before = now
    print(f"{published} were published before they were killed")
    trade(project, KILLS)
    last = script(project, "build", **variables)
    assert last.status == 0, last.out + last.err
    fresh = script(project, "build", DUCKDB_PATH="fresh.duckdb")
    assert fresh.status == 0, fresh.out + fresh.err
    expected = asked(project / "fresh.duckdb", *PLAIN)
    if target == "duckdb":
        left = {path.name for path in project.glob("warehouse.duckdb*")}
        assert left == {"warehouse.duckdb"}
        assert asked(file, *PLAIN) == expected
    else:
        with psycopg.connect(server.url(own("build_kills"))) as warehouse:
            found = [warehouse.execute(query.encode()).fetchall() for query in PLAIN]
        assert found == expected


class Readers:
    """A loop of readers in a process of its own, each of which opens the file anew."""

    CODE = """
import duckdb, os, sys
os.nice(10)  # it asks as often as it can, and shall not hinder the builds
while True:
    try:
        with duckdb.connect(sys.argv[1], read_only=True) as warehouse:
            said = warehouse.execute(sys.argv[2]).fetchall()[0]
    except duckdb.Error as error:
        said = error
    print(said, flush=True)
"""

    def __init__(self, path: Path) -> None:
        self.said: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-c", self.CODE, str(path), STATE], stdout=subprocess.PIPE, text=True
        )
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        assert self._process.stdout
        self.said.extend(line.strip() for line in self._process.stdout)

    def wait_for(self, units: int) -> None:
        """Wait until one of them has seen this state; for a minute, on a busy machine."""
        state, until = f"({units}, {units})", time.monotonic() + 60
        while self.said[-1:] != [state] and time.monotonic() < until:
            time.sleep(0.01)

    def stop(self) -> None:
        self._process.kill()
        self._thread.join()


@pytest.fixture
def readers(project: Path) -> Iterator[Readers]:
    readers = Readers(project / "warehouse.duckdb")
    yield readers
    readers.stop()


@pytest.mark.long
def test_readers_of_the_file_during_builds(project: Path, readers: Readers) -> None:
    """None is refused, none sees two marts that disagree, or a build that failed."""
    ((units, _),) = asked(project / "warehouse.duckdb", STATE)[0]
    states = [int(units)]
    readers.wait_for(states[0])
    kept = duckdb.connect(str(project / "warehouse.duckdb"), read_only=True)
    for number in range(BUILDS):
        units = trade(project, number)
        fails = number % 3 == 1
        # Before the marts are made, or when they are.
        early, late = fails and number % 2 == 0, fails and number % 2 == 1
        with sqlite3.connect(project / "shop.sqlite") as shop:
            shop.execute(
                "update orders set status = ?, comments = ?"
                " where orderNumber = (select min(orderNumber) from orders)",
                ("Lost" if early else "Shipped", "It fails." if late else None),
            )
        done = script(project, "build")
        assert (done.status != 0) == fails, done.out + done.err
        if not fails:
            states.append(units)
        readers.wait_for(states[-1])
    readers.stop()
    seen = list(dict.fromkeys(readers.said))
    assert seen == [f"({units}, {units})" for units in states]
    print(f"{len(readers.said)} reads")
    # Who has the file open since before the first of them still reads what there was.
    assert kept.execute(STATE).fetchall() == [(states[0], states[0])]
    kept.close()


def test_two_builds_at_once(project: Path) -> None:
    trade(project, 1)
    # Of everything, so that it is not through before the others have begun.
    first = start(project, BUILD="all")
    lock = project / "warehouse.duckdb.lock"
    while not lock.exists():
        assert first.is_running()
        time.sleep(0.05)
    waits = start(project, WAIT="600")
    second = script(project, "build")
    assert_one_sentence(second, f"process {first.pid} on", "is writing into warehouse.duckdb")
    assert second.status == BUSY
    assert run(project, "make", "build").status == 2  # GNU make knows no other
    loads = script(project, "load", "--source", "sqlite:///shop.sqlite")
    assert loads.status == BUSY and "load: make build (since" in loads.err
    for done in (first.ended(), waits.ended()):
        assert done.status == 0, done.out + done.err
    assert "waiting up to 600 s for make build (since" in done.err
    assert not lock.exists()


def test_a_build_by_a_link(project: Path, tmp_path: Path) -> None:
    """The warehouse is in another folder; what is built from here is built from there."""
    there = tmp_path / "there" / "warehouse.duckdb"
    there.parent.mkdir()
    (project / "warehouse.duckdb").rename(there)
    (project / "warehouse.duckdb").symlink_to(there)
    units = trade(project, 2)
    done = script(project, "build")
    assert done.status == 0, done.out + done.err
    assert (project / "warehouse.duckdb").is_symlink()
    assert asked(there, STATE) == [[(units, units)]]
    assert [path.name for path in there.parent.iterdir()] == ["warehouse.duckdb"]
    wrong = project / "other.duckdb"
    wrong.symlink_to(there)
    refused = script(project, "build", DUCKDB_PATH="other.duckdb")
    assert_one_sentence(refused, "is a link to", "Give the link the same name")


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mount") is None, reason="a small disk needs root"
)
@pytest.mark.parametrize("room", ["for no copy", "for a copy alone"])
def test_a_full_disk(room: str, project: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    size = (project / "warehouse.duckdb").stat().st_size
    mount = ["mount", "-t", "tmpfs", "-o", f"size={3 * size + (64 << 20)}", "tmpfs", str(disk)]
    if subprocess.run(mount).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        file = disk / "warehouse.duckdb"
        shutil.copyfile(project / "warehouse.duckdb", file)
        before = asked(file, STATE)
        filler = disk / "filler"
        free = shutil.disk_usage(disk).free
        enough = size + max(size // 4, 16 << 20)
        if room == "for no copy":
            filler.write_bytes(bytes(free - size))
        else:
            filler.write_bytes(bytes(free - enough - (1 << 20)))
            with sqlite3.connect(project / "shop.sqlite") as shop:
                shop.execute("update orders set comments = hex(randomblob(100000))")
        trade(project, 3)
        failed = script(project, "build", DUCKDB_PATH=str(file))
        assert_one_sentence(failed, "free." if room == "for no copy" else "warehouse")
        assert asked(file, STATE) == before
        filler.unlink()
        with sqlite3.connect(project / "shop.sqlite") as shop:
            shop.execute("update orders set comments = null")
        done = script(project, "build", DUCKDB_PATH=str(file))
        assert done.status == 0, done.out + done.err
        assert [path.name for path in disk.iterdir()] == ["warehouse.duckdb"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)
