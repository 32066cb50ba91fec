"""Measure how long a commit in the shop takes to reach a raw table.

    python -m tools.benchmark_watch [--source mariadb] [--target duckdb] [--rate 100] [--seconds 10]

It starts private servers, watches one table of 10,000 rows, commits single rows at the rate, and
asks the warehouse again and again which have arrived. It prints the lag from the commit to the
answer, the watch's CPU seconds and its peak memory, and the load of the machine, on which the lag
depends. A reader of DuckDB's file takes turns with the watch, so asking costs lag there.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pymysql

from tools.measuring import percentiles
from tools.servers import HOST, MariaDBServer, PostgresServer, Server

ROWS = 10_000
ARRIVED = "select id from raw_classicmodels.a where id > {last}"
SERIES = {
    "mariadb": f"select seq, 'old' from seq_1_to_{ROWS}",
    "postgres": f"select s, 'old' from generate_series(1, {ROWS}) as s",
}


def server_of(kind: str) -> Server:
    """A shop's server that writes a log."""
    if kind == "mariadb":
        return MariaDBServer(settings={"log-bin": "binlog", "binlog-format": "ROW", "server-id": 1})
    return PostgresServer(settings={"wal_level": "logical"})


def commit(server: Server, numbers: range, rate: float) -> dict[int, float]:
    """Insert a row with each number; when each was committed."""
    connection: Any
    if isinstance(server, MariaDBServer):
        connection = pymysql.connect(
            host=HOST,
            port=server.port,
            user=server.user,
            password=server.password,
            database="shop",
            autocommit=True,
        )
    else:
        connection = psycopg.connect(server.url("shop"), autocommit=True)
    began, at = time.monotonic(), {}
    with connection, connection.cursor() as cursor:
        for count, number in enumerate(numbers, 1):
            cursor.execute(f"insert into a values ({number}, 'new')")
            at[number] = time.time()
            time.sleep(max(0.0, began + count / rate - time.monotonic()))
    return at


def arrivals(ask: Any, numbers: range, until: threading.Event) -> dict[int, float]:
    """When each row was seen in the warehouse."""
    seen: dict[int, float] = {}
    last = numbers.start - 1
    while last < numbers.stop - 1 and not until.is_set():
        with contextlib.suppress(duckdb.Error):
            for (number,) in ask(ARRIVED.format(last=last)):
                seen[number] = time.time()
                last = max(last, number)
        time.sleep(0.01)
    return seen


def used(process: int) -> float:
    """CPU seconds of a process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure once, as the options say."""
    parser = argparse.ArgumentParser(description="Measure the lag of a watch.")
    parser.add_argument("--source", choices=SERIES, default="mariadb")
    parser.add_argument("--target", choices=("duckdb", "postgres"), default="duckdb")
    parser.add_argument("--rate", type=float, default=100.0, help="commits per second")
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    with (
        server_of(given.source) as shop,
        PostgresServer() as warehouse,
        tempfile.TemporaryDirectory() as folder,
    ):
        url, place = shop.create_database("shop"), f"{folder}/w.duckdb"
        shop.execute("create table a (id int primary key, v varchar(50))", "shop")
        shop.execute(f"insert into a {SERIES[given.source]}", "shop")
        right = "grant replication slave on *.* to shop@'127.0.0.1'"
        shop.execute(right if given.source == "mariadb" else "alter role shop replication")
        warehouse.create_database("warehouse")

        def ask(sql: str) -> list[Any]:
            if given.target == "postgres":
                return warehouse.execute(sql, "warehouse")
            with duckdb.connect(place, read_only=True) as connection:
                rows: list[Any] = connection.execute(sql).fetchall()
            return rows

        log = Path(folder, "log")
        command = [sys.executable, "-m", "loader", "watch", "--source", url]
        command += ["--target", given.target, "--duckdb-path", place]
        with log.open("w") as said:
            watch = subprocess.Popen(
                command, env=os.environ | warehouse.environment("warehouse"), stderr=said
            )
        while "rows are as the source" not in log.read_text() and watch.poll() is None:
            time.sleep(0.1)
        before = used(watch.pid)
        numbers = range(ROWS + 1, ROWS + 1 + int(given.rate * given.seconds))
        seen: dict[int, float] = {}
        until = threading.Event()
        looking = threading.Thread(target=lambda: seen.update(arrivals(ask, numbers, until)))
        looking.start()
        at = commit(shop, numbers, given.rate)
        looking.join(60)
        until.set()
        looking.join()
        lags = [seen[number] - at[number] for number in at if number in seen]
        status = Path(f"/proc/{watch.pid}/status").read_text()
        peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
        print(
            f"{given.source} -> {given.target}, {given.rate:g} commits/s: {len(lags)} of {len(at)}"
            f" rows arrived; lag {percentiles(lags)}; the watch used"
            f" {used(watch.pid) - before:.1f} CPU seconds, {peak:.0f} MB;"
            f" load of the machine {os.getloadavg()[0]:.1f}"
        )
        watch.terminate()
        watch.wait()


if __name__ == "__main__":
    main()
