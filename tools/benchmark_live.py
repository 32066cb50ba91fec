"""Measure how long a commit in the shop takes to reach a raw table, and the marts.

    python -m tools.benchmark_live [--sources mariadb] [--targets duckdb] [--scale 1000] ...

For each source and warehouse it starts private servers, makes a sample shop and runs make watch.
Then it commits new orders, each with three lines, at the rates that were asked for; changes rows of
order lines at a rate for some minutes; and changes many at once. After each commit it notes how
long the source's log is. The watch says in its status how far the raw tables and the marts are in
this log, as nobody else can open a DuckDB file meanwhile. It prints the lags, the watch's CPU
seconds and memory, and the load of the machine, on which all of it depends. With `--peers` it first
commits the same beside Debezium's engine (benchmark_debezium.py), whose environment it makes there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pymysql

from loader.lock import BUSY
from sample_shop.shop import create_shop
from tools.benchmark_debezium import Debezium
from tools.benchmark_watch import server_of, used
from tools.measuring import percentiles
from tools.servers import HOST, MariaDBServer, PostgresServer, Server

REPO = Path(__file__).resolve().parents[1]
# Seconds for which what was committed last may be on its way.
PATIENCE = 900.0
LINES = 3


class Writer:
    """A session of the shop, which knows how long the source's log is."""

    def __init__(self, server: Server) -> None:
        self.is_mariadb = isinstance(server, MariaDBServer)
        self._session: Any
        if self.is_mariadb:
            self._session = pymysql.connect(
                host=HOST, port=server.port, user=server.user, password=server.password,
                database="shop",
            )  # fmt: skip
        else:
            self._session = psycopg.connect(server.url("shop"))
        self._cursor = self._session.cursor()
        self.last_order = int(self.ask('select max("orderNumber") from orders')[0][0])
        self._customer = self.ask('select min("customerNumber") from customers')[0][0]
        self._products = self.ask(f'select "productCode", "MSRP" from products limit {LINES}')

    def ask(self, sql: str, *values: Any) -> Any:
        """The rows of a query with names in double quotes."""
        self._cursor.execute(sql.replace('"', "`") if self.is_mariadb else sql, values)
        return self._cursor.fetchall() if self._cursor.description else []

    def order(self) -> int:
        """Commit a new order; returns how many rows it has."""
        self.last_order += 1
        today = time.strftime("%Y-%m-%d", time.gmtime())
        self.ask(
            'insert into orders ("orderNumber", "orderDate", "requiredDate", status,'
            " \"customerNumber\") values (%s, %s, %s, 'In Process', %s)",
            *(self.last_order, today, today, self._customer),
        )
        for number, (product, price) in enumerate(self._products, 1):
            self.ask(
                'insert into orderdetails ("orderNumber", "productCode", "quantityOrdered",'
                ' "priceEach", "orderLineNumber") values (%s, %s, %s, %s, %s)',
                *(self.last_order, product, 10 + self.last_order % 30, price, number),
            )
        self._session.commit()
        return 1 + len(self._products)

    def change(self, first: int, orders: int) -> int:
        """Commit other quantities of the lines of some orders; returns how many rows."""
        self.ask(
            'update orderdetails set "quantityOrdered" = "quantityOrdered" % 40 + 5'
            ' where "orderNumber" >= %s and "orderNumber" < %s'.replace("% 40", "%% 40"),
            *(first, first + orders),
        )
        rows = int(self._cursor.rowcount)
        self._session.commit()
        return rows

    def log_end(self) -> tuple[int, int]:
        """How long the source's log is: its file and the place there."""
        if self.is_mariadb:
            file, place = self.ask("show master status")[0][:2]
            return place_of(f"{file}:{place}")
        text = str(self.ask("select pg_current_wal_insert_lsn()::text")[0][0])
        self._session.commit()
        return place_of(text)


def place_of(text: str) -> tuple[int, int]:
    """A place in a log, to compare with others: binlog.000001:1234, or 0/1A2B3C."""
    if "/" in text:
        high, low = (int(part, 16) for part in text.split("/"))
        return high, low
    file, _, place = text.rpartition(":")
    return int(file.rpartition(".")[2] or 0), int(place or 0)


@dataclass
class Seen:
    """When the raw tables and the marts had reached which places."""

    raw: list[tuple[float, tuple[int, int]]] = field(default_factory=list)
    marts: list[tuple[float, tuple[int, int]]] = field(default_factory=list)

    def note(self, moment: float, status: dict[str, Any]) -> None:
        """Take in one look at the status."""
        for found, text in (
            (self.raw, status.get("position", "")),
            (self.marts, status.get("marts", {}).get("position", "")),
        ):
            place = place_of(text) if text else (0, 0)
            if not found or found[-1][1] < place:
                found.append((moment, place))

    @staticmethod
    def lags(found: Sequence[Any], commits: Sequence[tuple[float, tuple[int, int]]]) -> list[float]:
        """For each commit, the seconds until its place was reached."""
        lags, n = [], 0
        for at, place in commits:
            while n < len(found) and found[n][1] < place:
                n += 1
            if n < len(found):
                lags.append(max(0.0, found[n][0] - at))
        return lags


class Live:
    """One watch of one shop into one warehouse."""

    def __init__(self, shop: Server, environment: dict[str, str], folder: Path) -> None:
        self._environment, self._log = os.environ | environment, folder / "watch.log"
        self._shop, self.seen = shop, Seen()
        self._file = Path(environment["DUCKDB_PATH"] + ".watch.json")
        self._warehouse: psycopg.Connection | None = None
        if environment["TARGET"] == "postgres":
            self._warehouse = psycopg.connect(
                host=environment["PGHOST"], port=environment["PGPORT"],
                user=environment["PGUSER"], password=environment["PGPASSWORD"],
                dbname=environment["PGDATABASE"], autocommit=True,
            )  # fmt: skip
        self.writer = Writer(shop)
        self._ended = threading.Event()

    @contextmanager
    def running(self, slow: str) -> Iterator[None]:
        """From the end of its first build to its end."""
        command = [sys.executable, "scripts/watch.py", "--slow", slow, "--audit", "0"]
        with self._log.open("w") as log:
            self._watch = subprocess.Popen(
                command, cwd=REPO, env=self._environment, stdout=log, stderr=log
            )
        try:
            while "rows are as the source" not in self._log.read_text():
                if self._watch.poll() not in (None, BUSY):
                    sys.exit(self._log.read_text()[-2000:])
                time.sleep(0.2)
            looking = threading.Thread(target=self._look, daemon=True)
            looking.start()
            yield
        finally:
            self._ended.set()
            self._watch.terminate()
            self._watch.wait()

    def _look(self) -> None:
        while not self._ended.wait(0.005):
            status = self.status()
            if status:
                self.seen.note(time.time(), status)

    def status(self) -> dict[str, Any]:
        """What the watch says of itself."""
        try:
            text = (
                self._file.read_text()
                if self._warehouse is None
                else self._warehouse.execute(
                    "select status from raw_classicmodels._load_watch"
                ).fetchall()[0][0]
            )
            found: dict[str, Any] = json.loads(text)
        except (OSError, ValueError, IndexError, psycopg.Error):
            return {}
        return found

    def committed(
        self, rate: float, seconds: float, commit: Callable[[], int]
    ) -> tuple[list[tuple[float, tuple[int, int]]], int]:
        """Commit at a rate; when, up to which place of the log, and how many rows."""
        began, commits, rows = time.time(), [], 0
        while time.time() < began + seconds:
            rows += commit()
            commits.append((time.time(), self.writer.log_end()))
            time.sleep(max(0.0, began + len(commits) / rate - time.time()))
        return commits, rows

    def wait_for(self, place: tuple[int, int]) -> float:
        """Wait until the marts have reached a place; the seconds that it took."""
        began = time.time()
        while not self.seen.marts or self.seen.marts[-1][1] < place:
            if time.time() > began + PATIENCE or self._watch.poll() is not None:
                sys.exit(f"The marts did not follow:\n{self._log.read_text()[-3000:]}")
            time.sleep(0.01)
        return time.time() - began

    def lags(self, commits: list[tuple[float, tuple[int, int]]]) -> str:
        """The lags of commits, in words."""
        time.sleep(0.1)
        return "; ".join(
            f"{name} {percentiles(Seen.lags(found, commits))}"
            for name, found in (("raw", self.seen.raw), ("marts", self.seen.marts))
        )

    @property
    def cost(self) -> str:
        """What the watch has used."""
        status = Path(f"/proc/{self._watch.pid}/status").read_text()
        peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
        marts = self.status().get("marts", {})
        return (
            f"{used(self._watch.pid):.0f} CPU s, at most {peak:.0f} MB; failed tests:"
            f" {len(marts.get('failed', []))}; load of the machine {os.getloadavg()[0]:.1f}"
        )


def measure(source: str, target: str, given: argparse.Namespace) -> None:
    """Measure one source into one warehouse."""
    with (
        server_of(source) as shop,
        PostgresServer() as warehouse,
        tempfile.TemporaryDirectory() as folder,
    ):
        url = shop.create_database("shop")
        rows = create_shop(url, scale=given.scale)
        right = f"grant replication slave, binlog monitor on *.* to {shop.user}@'{HOST}'"
        shop.execute(right if source == "mariadb" else f"alter role {shop.user} replication")
        warehouse.create_database("warehouse")
        environment = {
            **warehouse.environment("warehouse"),
            "SOURCE": url,
            "TARGET": target,
            "DUCKDB_PATH": f"{folder}/w.duckdb",
        }
        live = Live(shop, environment, Path(folder))
        name = f"{source} -> {target}, scale {given.scale:,}"
        print(f"{name}: {sum(rows.values()):,} rows in the shop", flush=True)
        began = time.time()
        with live.running(given.slow):
            print(f"{name}: it follows after {time.time() - began:.0f} s; {live.cost}", flush=True)
            live.writer.order()
            live.wait_for(live.writer.log_end())
            if given.peers and source == "postgres":
                peer = Debezium(url, given.peers.resolve(), Path(folder))
                with peer.running(live.writer.order):
                    report_rates(f"{name}, with Debezium's engine beside it", live, given, peer)
            elif given.peers:
                print(f"{name}: Debezium's engine is not measured, it reads PostgreSQL only here")
            report_rates(name, live, given)
            if given.minutes:
                report_sustained(name, live, given)
            if given.burst:
                changed, first = 0, live.writer.last_order - given.burst // LINES
                changed = live.writer.change(max(first, 0), given.burst)
                took = live.wait_for(live.writer.log_end())
                print(
                    f"{name}, {changed:,} rows at once: caught up in {took:.1f} s; {live.cost}",
                    flush=True,
                )


def report_rates(
    name: str, live: Live, given: argparse.Namespace, peer: Debezium | None = None
) -> None:
    """Commit orders at each of the rates."""
    for rate in given.rates:
        commits, _ = live.committed(rate, given.seconds, live.writer.order)
        live.wait_for(commits[-1][1])
        lags = live.lags(commits)
        if peer:
            first = live.writer.last_order - len(commits) + 1
            handed = peer.lags({number: at for number, (at, _) in enumerate(commits, first)})
            lags += f"; Debezium's engine {handed}"
        print(f"{name}, {rate:g} commits/s: {lags}; {live.cost}", flush=True)


def report_sustained(name: str, live: Live, given: argparse.Namespace) -> None:
    """Change rows at a rate for some minutes."""
    first, orders = live.writer.last_order, 10
    turn = iter(range(10**9))

    def change() -> int:
        return live.writer.change(first - orders * (1 + next(turn) % 500), orders)

    probe = change()
    rate = given.sustained / max(probe, 1)
    commits, rows = live.committed(rate, given.minutes * 60, change)
    took = live.wait_for(commits[-1][1])
    print(
        f"{name}, {rows / given.minutes / 60:,.0f} changed rows/s for {given.minutes:g} minutes:"
        f" the last was there after {took:.1f} s; {live.lags(commits)}; {live.cost}",
        flush=True,
    )


def main() -> None:
    """Measure as the options say."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sources", nargs="+", default=["mariadb", "postgres"])
    parser.add_argument("--targets", nargs="+", default=["duckdb", "postgres"])
    parser.add_argument("--scale", type=int, default=1000, help="of the sample shop [1000]")
    parser.add_argument("--rates", nargs="*", type=float, default=[1.0, 100.0])
    parser.add_argument("--seconds", type=float, default=60.0, help="for each rate")
    parser.add_argument("--sustained", type=float, default=1000.0, help="changed rows per second")
    parser.add_argument("--minutes", type=float, default=10.0, help="of the sustained changes")
    parser.add_argument("--burst", type=int, default=100_000, help="rows changed at once")
    parser.add_argument(
        "--peers", type=Path, metavar="FOLDER", help="Debezium's engine beside it, too"
    )
    parser.add_argument("--slow", default="5m", help="how often the slow marts are built")
    given = parser.parse_args()
    for source in given.sources:
        for target in given.targets:
            measure(source, target, given)


if __name__ == "__main__":
    main()
