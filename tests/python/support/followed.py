"""A shop in which business goes on, and `make watch` of it in a process of its own."""

from __future__ import annotations

import contextlib
import json
import random
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sample_shop.databases import session
from sample_shop.shop import create_shop, play_events
from support.clone import REPO
from support.commands import environment
from support.one_run import own
from tools.servers import PostgresServer, Server

# Seconds within which a first build is through, and within which marts must have followed.
FIRST, PATIENCE = 400.0, 120.0
# What is made at other times than when rows change.
EXCEPT = ("recommendation_evaluation", "run_history")
Ask = Callable[[str], list[tuple[Any, ...]]]


def place_of(target: Any) -> dict[str, str]:
    """The variables that lead to a warehouse."""
    kind, *path = [a for a in target.arguments if not a.startswith("--")]
    found = {"TARGET": kind, **target.environment}
    return found | ({"DUCKDB_PATH": path[0]} if path else {})


class Followed:
    """One shop, one warehouse, and a watch."""

    def __init__(self, shop: Server, variables: dict[str, str], ask: Ask, folder: Path) -> None:
        self._shop, self._name = shop, own("followed")
        self.url, self.ask = shop.create_database(self._name), ask
        self._log = folder / "watch.log"
        create_shop(self.url)
        self.variables = environment() | variables | {"SOURCE": self.url}
        self._process: subprocess.Popen[bytes] | None = None
        self._played = 0

    def start(self, *arguments: str) -> None:
        """Start `make watch`; what it says is in `said`."""
        command = [sys.executable, "scripts/watch.py", "--page", "0", *arguments]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=REPO, env=self.variables, stdout=log, stderr=log
            )

    def run(self, *command: str, **variables: str) -> str:
        """Run one of the project's commands; what it says."""
        done = subprocess.run(
            [sys.executable, *command], cwd=REPO, env=self.variables | variables,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def happens(self, events: int = 3) -> None:
        """Some business, in one transaction."""
        self._played += 1
        play_events(self.url, events, seed=self._played)

    def corrects(self) -> None:
        """Correct a recent order: one line has another quantity, and one other is gone."""
        with session(self.url, create=False) as shop:
            ((number, first, last),) = shop.execute(
                'select "orderNumber", min("orderLineNumber"), max("orderLineNumber")'
                ' from orderdetails group by "orderNumber" having count(*) > 1'
                ' order by "orderNumber" desc limit 1'
            )
            of = f'where "orderNumber" = {number} and "orderLineNumber" ='
            shop.execute(
                f'update orderdetails set "quantityOrdered" = "quantityOrdered" + 3 {of} {first}'
            )
            shop.execute(f"delete from orderdetails {of} {last}")

    def sells(self, quantity: int) -> None:
        """Write how many of one thing were sold in one order."""
        line = "(select min(`orderNumber`) from orders) and `orderLineNumber` = 1"
        self._shop.execute(
            f"update orderdetails set `quantityOrdered` = {quantity} where `orderNumber` = {line}",
            self._name,
        )

    @property
    def said(self) -> str:
        """All that it said."""
        return self._log.read_text()

    @property
    def status(self) -> dict[str, Any]:
        """What it says of itself."""
        done = subprocess.run(
            [sys.executable, "scripts/watch.py", "status", "--json"],
            cwd=REPO, env=self.variables, capture_output=True, text=True, check=False,
        )  # fmt: skip
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def page(self, path: str) -> dict[str, Any]:
        """A document of the live page."""
        address = re.findall(r"The live page is at (\S+)/", self.said)[-1]
        with urllib.request.urlopen(address + path, timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def wait_for(self, done: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Wait until something is so; fail where it does not become so."""
        deadline = time.monotonic() + seconds
        while not done():
            assert self._process is not None and self._process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.3)

    def wait_until_it_follows(self, times: int = 1) -> None:
        """Wait until the complete build at the start is through."""
        self.wait_for(lambda: self.said.count("watch: the marts follow:") >= times, FIRST)

    def settle(self) -> dict[str, Any]:
        """Wait until marts are built of the last event, tested and recorded; what they are."""
        rows = self.status["rows"]
        self.happens(1)

        def is_settled() -> bool:
            status = self.status
            marts = status["marts"]
            is_here = status["rows"] > rows and status["position"] == marts["position"]
            return bool(is_here and marts["is_green"] and not status["lag_seconds"])

        self.wait_for(is_settled)
        found: dict[str, Any] = self.status["marts"]
        return found

    def end(self) -> tuple[int, float]:
        """Ask it to end: its exit code, and the seconds that it took."""
        assert self._process is not None
        started = time.monotonic()
        self._process.terminate()
        return self._process.wait(20), time.monotonic() - started

    def kill(self) -> None:
        """End it as the machine would."""
        if self._process:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def ended(followed: Followed) -> Iterator[Followed]:
    """Kill it at the end, whatever happened."""
    try:
        yield followed
    finally:
        followed.kill()


def rows_of_marts(ask: Ask) -> dict[str, list[tuple[Any, ...]]]:
    """By table of the marts, its rows without the time at which a load wrote them."""
    found = {}
    tables = ask(
        "select table_name, string_agg(column_name, ', ' order by ordinal_position)"
        " from information_schema.columns where table_schema = 'marts'"
        " and column_name <> '_loaded_at' group by 1 order by 1"
    )
    for table, columns in tables:
        if table not in EXCEPT:
            found[table] = sorted(ask(f"select {columns} from marts.{table}"), key=repr)
    return found


def differences(followed: Followed, copied: Callable[[], tuple[dict[str, str], Ask]]) -> list[str]:
    """The marts that are not as a full refresh makes them, in a copy of the warehouse."""
    before = rows_of_marts(followed.ask)
    variables, ask = copied()
    followed.run("-m", "dbt.cli.main", "run", "--full-refresh", "--quiet", **variables)
    whole = rows_of_marts(ask)
    assert before.keys() == whole.keys()
    return [
        f"{table}: {len(before[table])} rows, not {len(whole[table])};"
        f" {[row for row in before[table] if row not in whole[table]][:2]} and not"
        f" {[row for row in whole[table] if row not in before[table]][:2]}"
        for table in before
        if before[table] != whole[table]
    ]


def business(followed: Followed, rounds: int, random: random.Random) -> None:
    """Events, one after the other or many at once, so that batches differ."""
    for _ in range(rounds):
        followed.happens(random.choice((1, 2, 5, 12)))
        if random.random() < 0.5:
            time.sleep(random.choice((0.0, 3.0)))
            followed.corrects()
        time.sleep(random.choice((0.0, 0.2, 1.5, 4.0)))


def copied_database(server: PostgresServer, name: str) -> Callable[[], tuple[dict[str, str], Ask]]:
    """How to copy a warehouse of PostgreSQL, and to ask the copy."""

    def copied() -> tuple[dict[str, str], Ask]:
        copy = f"{name}_whole"
        server.execute(f"create database {copy} template {name}")
        return server.environment(copy), lambda sql: server.execute(sql, copy)

    return copied


def copied_file(path: Path) -> Callable[[], tuple[dict[str, str], Ask]]:
    """How to copy a DuckDB file, and to ask the copy, which has its name: views hold it."""

    def copied() -> tuple[dict[str, str], Ask]:
        import duckdb

        folder = path.with_name("whole")
        folder.mkdir()
        copy = folder / path.name
        copy.write_bytes(path.read_bytes())

        def ask(sql: str) -> list[tuple[Any, ...]]:
            with duckdb.connect(str(copy), read_only=True) as connection:
                rows: list[tuple[Any, ...]] = connection.execute(sql).fetchall()
            return rows

        return {"DUCKDB_PATH": str(copy)}, ask

    return copied
