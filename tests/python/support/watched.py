"""A shop that changes at random, and a watcher of it in a process of its own."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from loader import LoadError, Options
from loader.destinations import Destination
from loader.verify import verify
from support.clone import REPO
from support.one_run import own
from tools.servers import Server

# Seconds within which raw tables must be as the source.
PATIENCE = 30.0

MARIADB_TABLES = """
create table p (id int primary key, code varchar(20) not null);
create table o (
    id bigint unsigned primary key, p_id int, amount decimal(12, 2), note text,
    foreign key (p_id) references p (id) on delete cascade on update cascade
);
create table l (
    o_id bigint unsigned, n smallint, v varchar(40), primary key (o_id, n),
    foreign key (o_id) references o (id) on delete cascade on update cascade
);
create table t (k varchar(20) character set latin1 collate latin1_swedish_ci primary key, v int);
create table d (k decimal(20, 4), m datetime(3), v int, primary key (k, m));
create table b (k binary(4) primary key, v int);
create table w (a int, v text);
create table e (k enum('x', 'y', 'z') primary key, v int);
"""
POSTGRES_TABLES = """
create table p (id int primary key, code varchar(20) not null);
create table o (
    id bigint primary key, p_id int references p (id) on delete cascade on update cascade,
    amount decimal(12, 2), note text
);
create table l (
    o_id bigint references o (id) on delete cascade on update cascade, n smallint, v varchar(40),
    primary key (o_id, n)
);
create table t (k varchar(20) primary key, v int);
create table d (k decimal(20, 4), m timestamp(3), v int, primary key (k, m));
create table b (k bytea primary key, v int);
create table w (a int, v text);
insert into w select 0, 'stays' from generate_series(1, 500);
create table e (k date primary key, v int);
"""
TEXTS = ("a", "A", "b ", "é", "Ä", "tab\t", "back\\slash", "quote'", "x%", "")


class Writer:
    """Makes one random business event after the other."""

    def __init__(self, server: Server, database: str, seed: int) -> None:
        self._server, self._database = server, database
        self.random = random.Random(seed)
        self._is_mariadb = server.scheme == "mysql"

    def run(self, sql: str) -> None:
        """A statement, or a transaction of some; what the shop refuses is no event."""
        with contextlib.suppress(Exception):
            self._server.execute(sql, self._database)

    def event(self, shaping: bool = False) -> None:
        """One transaction."""
        r = self.random
        events = [
            self._order, self._order, self._lines, self._update, self._text, self._decimal,
            self._binary, self._keyless, self._other, self._delete_parent, self._move_parent,
            self._update_and_delete, self._rolled_back, self._many, self._move_key,
        ]  # fmt: skip
        if shaping:
            events = [self._shape]
        self.run(r.choice(events)())

    def _id(self, most: int = 60) -> int:
        return self.random.randint(1, most)

    def _text_value(self) -> str:
        text = self.random.choice(TEXTS) + str(self.random.randint(0, 3) or "")
        escaped = text.replace("'", "''")
        return "'" + (escaped.replace("\\", "\\\\") if self._is_mariadb else escaped) + "'"

    def _order(self) -> str:
        p, o = self._id(20), self._id()
        return (
            f"begin; delete from p where id = {p};"
            f"insert into p values ({p}, {self._text_value()});"
            f"delete from o where id = {o}; insert into o values"
            f" ({o}, {p}, {o}.{self._id(89) + 10}, {self._text_value()}); commit"
        )

    def _lines(self) -> str:
        o = self._id()
        return (
            "begin; "
            + "".join(
                f"delete from l where o_id = {o} and n = {n};"
                f"insert into l values ({o}, {n}, {self._text_value()});"
                for n in range(self._id(5))
            )
            + "commit"
        )

    def _update(self) -> str:
        return (
            f"update o set note = {self._text_value()}, amount = amount + 1 where id < {self._id()}"
        )

    def _text(self) -> str:
        k = self._text_value()
        return self.random.choice(
            (
                f"insert into t values ({k}, 1)",
                f"update t set v = v + 1 where k = {k}",
                f"update t set k = {k} where k = {self._text_value()}",
                f"delete from t where k = {k}",
            )
        )

    def _decimal(self) -> str:
        k = f"{self.random.choice((-1, 1)) * self._id(5)}.0{self._id(9)}"
        m = f"'2026-01-0{self._id(3)} 10:00:0{self._id(3)}.{self._id(5)}00'"
        return self.random.choice(
            (
                f"insert into d values ({k}, {m}, 1)",
                f"delete from d where k < {k}",
                f"update d set v = v + 1, k = k * -1 where k > {k}",
            )
        )

    def _binary(self) -> str:
        digits = self.random.choice(("00", "ff00", "01020304", "5c780a09"))
        value = f"x'{digits}'" if self._is_mariadb else f"'\\x{digits}'"
        return self.random.choice(
            (
                f"insert into b values ({value}, 1)",
                f"update b set v = v + 1 where k = {value}",
                f"delete from b where k = {value}",
            )
        )

    def _keyless(self) -> str:
        a = self._id(9)
        return self.random.choice(
            (f"insert into w values ({a}, {self._text_value()})", f"delete from w where a = {a}")
        )

    def _other(self) -> str:
        k = self.random.choice(("x", "y", "z"))
        k = f"'{k}'" if self._is_mariadb else f"date '2026-01-0{ord(k) - 119}'"
        return self.random.choice(
            (f"insert into e values ({k}, 1)", f"update e set v = v + 1 where k = {k}",
             f"delete from e where k = {k}")
        )  # fmt: skip

    def _delete_parent(self) -> str:
        return f"delete from p where id = {self._id(20)}"

    def _move_parent(self) -> str:
        return f"update p set id = {self._id(20)} where id = {self._id(20)}"

    def _move_key(self) -> str:
        return f"update o set id = {self._id()} where id = {self._id()}"

    def _update_and_delete(self) -> str:
        o = self._id()
        return (
            f"begin; update o set note = 'last words' where id = {o}; delete from o where id = {o};"
            f"insert into t values ('{o}', 1); delete from t where k = '{o}'; commit"
        )

    def _rolled_back(self) -> str:
        return f"begin; delete from o; update t set v = 0; {self._lines()[7:-6]} rollback"

    def _many(self) -> str:
        low = self.random.choice((1000, 2000))
        if self.random.random() < 0.5:
            return f"delete from o where id between {low} and {low + 700}"
        series = f"s, null, s, 'many' from generate_series({low}, {low + 600}) as s"
        if self._is_mariadb:
            # MySQL itself has no table of numbers.
            numbers = f"with recursive r as (select {low} as s union all select s + 1 from r"
            series = f"s, null, s, 'many' from ({numbers} where s < {low + 600}) select s from r) r"
        skip = "ignore " if self._is_mariadb else ""
        rest = "" if self._is_mariadb else " on conflict do nothing"
        return f"insert {skip}into o select {series}{rest}"

    def _shape(self) -> str:
        n = self._id(3)
        first = " first" if self._is_mariadb else ""
        return self.random.choice(
            (
                f"alter table t add column c{n} int default 7{first}",
                f"alter table t drop column c{n}",
                "truncate table w" if self._is_mariadb else "truncate w",
                "truncate table l" if self._is_mariadb else "truncate l",
                f"create table new{n} (id int primary key, v int)",
                f"insert into new{n} values ({self._id()}, 1)",
                "alter table d modify v bigint" if self._is_mariadb
                else "alter table d alter v type bigint",
            )
        )  # fmt: skip


def write(server: Server, database: str, seed: int, rounds: int, writers: int = 3) -> None:
    """Several writers at once, each with so many events."""

    def work(number: int) -> None:
        writer = Writer(server, database, seed * 100 + number)
        for _ in range(rounds):
            writer.event()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def rounds(server: Server, tables: str, target: Any, folder: Path, number: int, events: int) -> str:
    """Events and pauses; after each pause raw must be as the source. Returns what was said."""
    name = own("shop")
    url = server.create_database(name)
    server.execute(tables, name)
    watched = Watched(url, target.arguments, target.environment, folder / "log")
    with ended(watched):
        # The first load runs while the shop is busy.
        # No log of PostgreSQL tells that rows of `w` are gone, and after a while it has only a few.
        (config := folder / "loader.yml").write_text("max_delete_share: 1", "utf-8")
        watched.start("--every", "1s", "--audit", "3s", "--config", str(config))
        shaper = Writer(server, name, 7)
        for n in range(number):
            write(server, name, n + 2, events)
            if n % 2:
                for _ in range(3):
                    shaper.event(shaping=True)
                    shaper.event()
            settled(watched, target.opened)
        code, seconds = watched.end()
    assert code == 0 and seconds < 5, f"exit code {code} after {seconds:.1f} s\n{watched.said}"
    assert "fault" not in watched.said
    assert "Traceback" not in watched.said
    assert not miscounted(target.ask)
    return watched.said


def killed(server: Server, tables: str, target: Any, folder: Path, kills: int) -> None:
    """Kill the watcher at random while the shop is busy; raw is as the source afterwards."""
    name, choose = own("shop"), random.Random(3)
    url = server.create_database(name)
    server.execute(tables, name)
    watched = Watched(url, target.arguments, target.environment, folder / "log")
    done = threading.Event()

    def work() -> None:
        writer = Writer(server, name, 5)
        while not done.is_set():
            writer.event()

    thread = threading.Thread(target=work)
    thread.start()
    with ended(watched):
        try:
            for _ in range(kills):
                watched.start("--every", "1s")
                time.sleep(choose.uniform(0.3, 4.0))
                assert watched.alive, watched.said
                watched.kill()
        finally:
            done.set()
            thread.join()
        watched.start("--every", "1s")
        settled(watched, target.opened)
    assert "fault" not in watched.said
    # What was read once is not read again: only a first batch that was not published is.
    _, _, later = watched.said.partition("are as the source")
    assert "all tables are compared" not in later, watched.said


class Watched:
    """`python -m loader watch` in a process of its own, and what it says."""

    def __init__(self, url: str, target: Sequence[str], environment: dict[str, str], log: Path):
        self.url, self._target, self._log = url, list(target), log
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    def command(self, *arguments: str) -> list[str]:
        """The command line."""
        where = ["--source", self.url, *self._target, "--raw-schema", "raw"]
        return [sys.executable, "-m", "loader", "watch", *arguments, *where]

    def start(self, *arguments: str) -> None:
        """Start it; what it says is in `said`."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(*arguments), cwd=REPO, env=self._environment, stdout=log, stderr=log
            )

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another of its commands to its end."""
        return subprocess.run(
            self.command(*arguments), cwd=REPO, env=self._environment, capture_output=True,
            text=True, check=False,
        )  # fmt: skip

    def kill(self) -> None:
        """End it as the machine would."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def end(self) -> tuple[int, float]:
        """Ask it to end: its exit code, and the seconds that it took."""
        assert self._process is not None
        started = time.monotonic()
        self._process.terminate()
        return self._process.wait(20), time.monotonic() - started

    def limit(self, size: int) -> None:
        """Let its files grow to so many bytes, as if there were no room for more."""
        assert self._process is not None
        unlimited = resource.RLIM_INFINITY
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (size, unlimited))

    @property
    def process(self) -> int:
        """Its number."""
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def said(self) -> str:
        """All that it said."""
        return self._log.read_text() if self._log.exists() else ""

    def wait_for(self, text: str, seconds: float = PATIENCE) -> None:
        """Wait until it has said something."""
        deadline = time.monotonic() + seconds
        while text not in self.said:
            assert self.alive, self.said
            assert time.monotonic() < deadline, f"{text!r} was not said:\n{self.said}"
            time.sleep(0.05)


def differences(url: str, opened: Callable[[], Destination]) -> list[str]:
    """Where the raw tables are not as the source is now."""
    verdicts, _, _ = verify(url, opened(), Options())
    return [f"{v.table.name} {text}" for v in verdicts for text in v.differences]


def miscounted(ask: Callable[[str], list[Any]]) -> list[str]:
    """Raw tables that have another number of rows than the last batch says: it counts no table."""
    last = ask(
        "select table_name, rows_live from (select *, row_number() over (partition by table_name"
        " order by batch_id desc) as age from raw._load_tables where status = 'succeeded') as t"
        " where age = 1"
    )
    rows = 'select count(*) from raw."{}" where _deleted_at is null'
    return [name for name, live in last if ask(rows.format(name)) != [(live,)]]


def settled(watched: Watched, opened: Callable[[], Destination]) -> None:
    """Wait until raw is as the source; fail where it does not become so."""
    deadline = time.monotonic() + PATIENCE
    while True:
        assert watched.alive, watched.said
        try:
            found = differences(watched.url, opened)
        except LoadError as error:  # the watcher is writing
            found = [str(error)]
        if not found:
            return
        assert time.monotonic() < deadline, f"{found}\n{watched.said}"
        time.sleep(0.2)


@contextlib.contextmanager
def ended(watched: Watched) -> Iterator[Any]:
    """Kill it at the end, whatever happened."""
    try:
        yield watched
    finally:
        watched.kill()
