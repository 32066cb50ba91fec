"""A shop behind a network, a watch of it, and how a test sees that something is wrong or well."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from loader import LoadError, answering
from loader.dialects import postgres as libpq
from loader.sources import mysql_connection
from loader.urls import parse_url
from loader.watch import binlog, postgres_stream
from loader.watch.log import Log
from loader.watch.mysql import MySQLLog
from loader.watch.postgres import PostgresLog
from support.inside import Inside
from support.network import Network
from support.one_run import own
from support.watched import MARIADB_TABLES, POSTGRES_TABLES, Writer, differences
from tools.servers import Server

AGAIN = "It tries again."
# Within so many seconds the watch says that something is wrong, or is as the source again.
SOON, PATIENCE = 15.0, 60.0


class Shop:
    """A shop on a server of its own kind, and a watch of it through a network."""

    def __init__(self, server: Server, target: Any) -> None:
        self.server, self.name, self.target = server, own("outage"), target
        self.url = server.create_database(self.name)
        is_mariadb = server.scheme == "mysql"
        server.execute(MARIADB_TABLES if is_mariadb else POSTGRES_TABLES, self.name)
        self._writing = threading.Event()

    def run(self, sql: str) -> None:
        """In the shop."""
        self.server.execute(sql, self.name)

    @contextlib.contextmanager
    def session(self) -> Iterator[Callable[[str], Any]]:
        """A session that stays."""
        if self.server.scheme == "mysql":
            with mysql_connection.connect(parse_url(self.url)) as connection:
                connection.autocommit(True)
                yield connection.cursor().execute
        else:
            with psycopg.connect(self.url) as connection:
                yield lambda text: connection.execute(text.encode())

    def through(self, between: Network) -> str:
        """The shop's address behind a network."""
        url = self.url.replace(f":{self.server.port}/", f":{between.port}/")
        return url if self.server.scheme == "mysql" else f"{url}?connect_timeout=2"

    def forget(self) -> None:
        """Let the server keep no log for the watch."""
        if self.server.scheme != "mysql":
            PostgresLog(self.url, "outage").drop()

    def log(self, url: str) -> Log:
        """Its log."""
        return MySQLLog(url) if self.server.scheme == "mysql" else PostgresLog(url, "outage")

    @contextlib.contextmanager
    def busy(self, seed: int = 1) -> Iterator[None]:
        """Random events come as long as the block runs."""
        writer, done = Writer(self.server, self.name, seed), threading.Event()

        def work() -> None:
            while not done.wait(0.02):
                writer.event()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes half a minute in earnest takes two seconds."""
    small = {"keepalives_idle": "1", "keepalives_interval": "1", "keepalives_count": "2"}
    for name, value in {**small, "tcp_user_timeout": "2000"}.items():
        monkeypatch.setitem(libpq.ALIVE, name, value)
    smaller = {"TCP_USER_TIMEOUT": 2000, "TCP_KEEPIDLE": 1, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 2}
    for option, number in smaller.items():
        monkeypatch.setitem(mysql_connection.ALIVE, option, number)
    monkeypatch.setattr(mysql_connection, "LOGIN", 2)
    monkeypatch.setattr(answering, "EVERY", 3.0)
    monkeypatch.setattr(binlog, "DEAD_SECONDS", 3)
    monkeypatch.setattr(postgres_stream, "DEAD", 3.0)
    monkeypatch.setattr(postgres_stream, "WORD_EVERY", 1.0)
    monkeypatch.setattr("loader.destinations.postgres.SLOWLY", {"tcp_user_timeout": "2000"})
    monkeypatch.setattr("loader.watch.watcher.LONGEST_PAUSE", 2.0)


def until(
    holds: Callable[[], bool], seconds: float, what: Callable[[], object], pause: float = 0.05
) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what()
        time.sleep(pause)


def exact(shop: Shop, said: list[str]) -> None:
    """Wait until raw is as the source."""
    found = [""]

    def is_exact() -> bool:
        try:
            # Two that open a file of DuckDB in one process would disturb each other.
            with shop.target.opened().alone("the test", found.append):
                found[:] = differences(shop.url, shop.target.opened)
        except (LoadError, psycopg.Error) as error:
            found[:] = [str(error)]
        return not found

    # The watch has to find the lock free in between.
    until(is_exact, PATIENCE, lambda: (found, said), pause=1.0)


def trouble(inside: Inside, since: int = 0) -> None:
    """Wait until the watch says in one sentence that something is wrong."""
    until(lambda: bool(troubles(inside.said[since:])), SOON, lambda: inside.said)


def troubles(said: list[str]) -> list[str]:
    """What the watch said of trouble."""
    return [text for text in said if AGAIN in text]
