"""The watch in this process: what needs a figure that is smaller than in earnest, or a count."""

import resource
import sqlite3
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest

from loader import Options, load
from loader.errors import BusyError, LoadError, UsageError
from loader.watch import binlog, changes, guarded, watcher
from loader.watch.after import After
from loader.watch.binlog import Event
from loader.watch.board import FileBoard, board_of
from loader.watch.changes import Channel, Heard
from loader.watch.guarded import Guarded
from loader.watch.log import Log
from loader.watch.mysql import MySQLLog, Reader
from loader.watch.mysql_gtids import Executed, gtid_of
from loader.watch.mysql_rights import why_not
from loader.watch.poll import PollLog
from loader.watch.postgres import PostgresLog
from loader.watch.postgres_stream import Stream
from loader.watch.request import Watch
from loader.watch.status import Figures
from loader.watch.watcher import Watcher
from support.inside import Inside
from support.one_run import own
from tools.servers import MariaDBServer, MySQLServer, PostgresServer, Server


def shop_of(server: Server) -> tuple[str, str]:
    """The name and address of a new shop with one table."""
    name = own("inside")
    url = server.create_database(name)
    server.execute(
        "create table t (id int primary key, v varchar(20)); insert into t values (1, 'one')", name
    )
    return name, url


@pytest.mark.long
def test_a_backlog_may_take_longer_than_patience(
    logging_mariadb: MariaDBServer, into_duckdb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, url = shop_of(logging_mariadb)
    with (first := Inside(url, into_duckdb, MySQLLog(url))).running():
        first.wait("select count(*) from raw.t", [(1,)])
    logging_mariadb.execute(
        "".join(f"insert into t values ({n}, 'x');" for n in range(2, 3002)), name
    )
    monkeypatch.setattr(watcher, "PATIENCE", 0.005)
    with (second := Inside(url, into_duckdb, MySQLLog(url))).running():
        second.wait("select count(*) from raw.t", [(3001,)])
    assert "seems to be dead" not in str(second.said)


@pytest.mark.long
def test_a_backlog_is_read_before_the_source_is_asked(
    logging_postgres: PostgresServer, into_duckdb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, url = shop_of(logging_postgres)
    with (first := Inside(url, into_duckdb, PostgresLog(url, "inside"))).running():
        first.wait("select count(*) from raw.t", [(1,)])
    for n in range(2, 302):
        logging_postgres.execute(f"insert into t values ({n}, 'x')", name)
    asked, ask = list[float](), Stream.ask

    def counted(stream: Stream) -> None:
        asked.append(time.monotonic())
        ask(stream)

    monkeypatch.setattr(Stream, "ask", counted)
    with (second := Inside(url, into_duckdb, PostgresLog(url, "inside"))).running():
        second.wait("select count(*) from raw.t", [(301,)])
    assert len(asked) < 100
    second.watcher._log.drop()  # type: ignore[attr-defined]


@pytest.mark.long
def test_a_log_that_ends_is_read_anew(
    logging_mariadb: MariaDBServer, into_duckdb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the words of the error are; those of the shop's data are not said."""
    name, url = shop_of(logging_mariadb)
    take, faults = Reader._take, [b"secret \xff"]

    def failing(reader: Reader, event: Event) -> bool:
        if event.type in binlog.ROWS and faults:
            faults.pop().decode()
        return take(reader, event)

    with (inside := Inside(url, into_duckdb, MySQLLog(url))).running():
        inside.wait("select count(*) from raw.t", [(1,)])
        monkeypatch.setattr(Reader, "_take", failing)
        logging_mariadb.execute("insert into t values (2, 'two')", name)
        inside.wait("select count(*) from raw.t", [(2,)])
    assert "UnicodeDecodeError" in str(inside.said)
    assert "secret" not in str(inside.said)


COLLATIONS = {
    "utf8mb4": ("utf8mb4_unicode_ci", "utf8mb4_unicode_520_ci", "utf8mb4_general_ci"),
    "latin1": ("latin1_german2_ci", "latin1_bin"),
    "utf8mb3": ("utf8mb3_unicode_ci",),
}


@pytest.mark.long
def test_keys_of_each_collation(logging_mariadb: MariaDBServer, into_duckdb: Any) -> None:
    name, url = shop_of(logging_mariadb)
    tables = [c for some in COLLATIONS.values() for c in some]
    for charset, some in COLLATIONS.items():
        for c in some:
            kind = f"varchar(20) character set {charset} collate {c}"
            logging_mariadb.execute(
                f"create table {c} (k {kind}, l {kind}, v int, primary key (k, l));"
                f"create table one_{c} (k {kind} primary key, v int)", name
            )  # fmt: skip
    count = "select count(*) from raw._load_tables where mode = 'keys'"
    with (inside := Inside(url, into_duckdb, MySQLLog(url))).running():
        inside.wait("select count(*) from raw.t", [(1,)])
        for c in tables:
            logging_mariadb.execute(
                f"insert into {c} values ('B\u00e4r', '\u00df', 1);"
                f"insert into one_{c} values ('B\u00e4r', 1)", name
            )  # fmt: skip
        inside.wait(count, [(2 * len(tables),)])
        for c in tables:
            inside.wait(f"select k, l, v from raw.{c}", [("B\u00e4r", "\u00df", 1)])
            inside.wait(f"select k, v from raw.one_{c}", [("B\u00e4r", 1)])
    assert "mix of collations" not in str(inside.said)


def test_rows_that_another_load_brought_are_counted(
    logging_mariadb: MariaDBServer, into_duckdb: Any
) -> None:
    """Also where the first batch after it reads another table."""
    name, url = shop_of(logging_mariadb)
    logging_mariadb.execute("create table u (id int primary key)", name)
    with (inside := Inside(url, into_duckdb, MySQLLog(url))).running():
        inside.wait("select count(*) from raw.t, raw.u", [(0,)])
        logging_mariadb.execute("insert into t values (2, 'heard')", name)
        inside.wait("select count(*) from raw.t", [(2,)])
        logging_mariadb.execute(
            f"set session sql_log_bin = 0; insert into {name}.t values (3, 'unheard')"
        )
        with into_duckdb.opened().alone("the test", inside.said.append):
            load(url, into_duckdb.opened())
        logging_mariadb.execute("insert into u values (1)", name)
        inside.wait("select count(*) from raw.u", [(1,)])
        logging_mariadb.execute("insert into t values (4, 'heard')", name)
        inside.wait("select count(*) from raw.t", [(4,)])
    of_t = "select rows_live from raw._load_tables where table_name = 't' order by batch_id"
    assert into_duckdb.ask(of_t) == [(1,), (2,), (3,), (4,)]


def test_what_the_log_of_mariadb_hides(logging_mariadb: MariaDBServer, into_duckdb: Any) -> None:
    """Hidden columns, variables before a statement, a cascade through a table that is left out."""
    name, url = shop_of(logging_mariadb)
    logging_mariadb.execute(
        "create table hashed (id int primary key, b longtext, unique (b));"
        "create table kept (id int primary key, v int) with system versioning;"
        "create table between_ (id int primary key, up int, foreign key (up) references t (id)"
        " on delete cascade);"
        "create table last (id int primary key, up int, foreign key (up) references between_ (id)"
        " on delete cascade); insert into between_ values (1, 1); insert into last values (1, 1)",
        name,
    )
    inside = Inside(url, into_duckdb, MySQLLog(url))
    inside.watch.options = Options(exclude=("between_",))
    with inside.running():
        inside.wait("select count(*) from raw.last", [(1,)])
        logging_mariadb.execute(
            "insert into hashed values (1, 'x'); insert into kept values (1, 1)", name
        )
        inside.wait("select count(*) from raw.hashed, raw.kept", [(1,)])
        assert "other columns" not in str(inside.said)
        gone = "select count(*) from raw.{} where _deleted_at is null"
        logging_mariadb.execute("delete from t", name)
        inside.wait(gone.format("last"), [(0,)])
        logging_mariadb.execute("set statement max_statement_time = 9 for truncate hashed", name)
        inside.wait(gone.format("hashed"), [(0,)])


def test_what_postgres_does_not_log(logging_postgres: PostgresServer, into_duckdb: Any) -> None:
    """A definition while nobody watched, a table left out for a while, an open transaction."""
    name, url = shop_of(logging_postgres)
    with Inside(url, into_duckdb, PostgresLog(url, "inside")).running() as first:
        first.wait("select v from raw.t", [("one",)])
    logging_postgres.execute("alter table t alter v type text using v || '!'", name)
    with Inside(url, into_duckdb, PostgresLog(url, "inside")).running() as second:
        second.wait("select v from raw.t where _deleted_at is null", [("one!",)])
        # The log has none of the rows of a transaction that began before the table was published.
        logging_postgres.execute("create table n (id int primary key)", name)
        with psycopg.connect(url) as open_before:
            open_before.execute("insert into n values (1)")
            second.wait("select count(*) from raw.n", [(0,)])
            time.sleep(2.5)
        second.wait("select count(*) from raw.n", [(1,)])
    without = Inside(url, into_duckdb, PostgresLog(url, "inside"))
    without.watch.options = Options(exclude=("t",))
    with without.running():
        logging_postgres.execute("insert into t values (2); insert into n values (2)", name)
        without.wait("select count(*) from raw.n", [(2,)])
    with Inside(url, into_duckdb, log := PostgresLog(url, "inside")).running() as last:
        last.wait("select count(*) from raw.t where _deleted_at is null", [(2,)])
    assert "it was not followed until now" in str(last.said)
    log.drop()


@pytest.mark.parametrize("kind", [MySQLLog, PostgresLog])
def test_the_first_position_of_a_busy_shop(
    kind: type[Log],
    logging_mariadb: MariaDBServer,
    logging_postgres: PostgresServer,
    into_duckdb: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All that the log tells is later than the first snapshot: it is read on from its beginning."""
    server: Server = logging_mariadb if kind is MySQLLog else logging_postgres
    name, url = shop_of(server)

    def log() -> Log:
        return MySQLLog(url) if kind is MySQLLog else PostgresLog(url, "inside")

    catch_up, published = Watcher._catch_up, list[Any]()

    def catch_up_late(self: Watcher) -> None:
        if not published:
            server.execute("insert into t values (2, 'later')", name)
            deadline = time.monotonic() + 20
            while self._log.channel._keys == 0:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        catch_up(self)

    monkeypatch.setattr(Watcher, "_catch_up", catch_up_late)
    first = Inside(url, into_duckdb, log())
    confirm = first.watcher._log.confirm

    def confirmed(place: Any) -> None:
        published.append(place)
        first.watch.stop.set()
        confirm(place)

    monkeypatch.setattr(first.watcher._log, "confirm", confirmed)
    with first.running():
        first.watch.stop.wait(20)
    assert into_duckdb.ask("select count(*) from raw.t") == [(1,)]
    with Inside(url, into_duckdb, last := log()).running() as second:
        second.wait("select count(*) from raw.t", [(2,)])
    assert "it reads on from" in str(second.said)
    if isinstance(last, PostgresLog):
        last.drop()


@pytest.mark.long
def test_a_snapshot_is_ahead_of_the_log(logging_postgres: PostgresServer, into_duckdb: Any) -> None:
    """With synchronous_commit off a row is seen before the log has it."""
    name, url = shop_of(logging_postgres)
    logging_postgres.execute("alter system set wal_writer_delay = '10s'")
    logging_postgres.execute("select pg_reload_conf()")
    inside = Inside(url, into_duckdb, log := PostgresLog(url, "inside"))
    inside.watch.audit = 0.3
    with inside.running():
        inside.wait("select count(*) from raw.t", [(1,)])
        for n in range(2, 6):
            logging_postgres.execute(
                f"set synchronous_commit = off; insert into t values ({n}, 'x')", name
            )
            inside.wait("select count(*) from raw.t", [(n,)])
    logging_postgres.execute("alter system reset wal_writer_delay")
    logging_postgres.execute("select pg_reload_conf()")
    assert "fault of the watching" not in str(inside.said)
    log.drop()


def test_status_during_a_long_batch_and_after_a_wrong_request(
    into_duckdb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite3.connect(tmp_path / "shop.sqlite") as connection:
        connection.execute("create table t (id integer primary key)")
    url = f"sqlite:///{tmp_path / 'shop.sqlite'}"
    inside = Inside(url, into_duckdb, PollLog(url, 60))
    going_on, seen, board = threading.Event(), list[str](), inside.watcher._board
    monkeypatch.setattr(watcher, "STATUS_EVERY", 0.05)

    def long(_: Watcher) -> None:
        going_on.wait(10)
        raise UsageError("no second attempt helps")

    monkeypatch.setattr(Watcher, "_step", long)

    def look() -> None:
        deadline = time.monotonic() + 5
        while len(seen) < 3 and time.monotonic() < deadline:
            status = board.read()
            if status and status["running"] and status["at"] not in seen:
                seen.append(status["at"])
            time.sleep(0.02)
        going_on.set()

    threading.Thread(target=look, daemon=True).start()
    with pytest.raises(UsageError):
        inside.watcher.run()
    assert len(seen) == 3
    status = board.read()
    assert status is not None
    assert not status["running"]


def test_numbers_of_transactions_of_mysql() -> None:
    """As the server writes a set of them, over several lines and with tags."""
    one, two = "6ffd3c45-ea82-11f1-a623-02fc00000001", "7ffd3c45-ea82-11f1-a623-02fc00000001"
    executed = Executed.of(f"{one}:1-639:641,\n{two.upper()}:7:TAG:1-3")
    shown = [n for n in (1, 639, 640, 641, 642) if (one, n) in executed]
    assert shown == [1, 639, 641]
    assert [n for n in range(9) if (two, n) in executed] == [7]
    assert (f"{two}:tag", 3) in executed
    assert (one, 1) not in Executed.of("")
    body = b"\1" + bytes.fromhex(one.replace("-", "")) + (641).to_bytes(8, "little")
    assert gtid_of(Event("binlog.1", 4, 60, 0, binlog.MYSQL_GTID, 1, body)) == (one, 641)


def test_what_mysql_has_to_grant(mysql: MySQLServer) -> None:
    _, url = shop_of(mysql)
    why, _ = why_not(url)
    assert f"grant replication slave, replication client on *.* to {mysql.user}" in why


class Failing:
    """Follows a watch, always has work to do, and raises in the calls that it is told of."""

    def __init__(self, *fails: str) -> None:
        self.fails, self.called, self.is_whole = set(fails), list[str](), True

    def _call(self, name: str) -> None:
        self.called.append(name)
        if name in self.fails:
            raise KeyError(name)

    def begin(self, stop: threading.Event) -> None:
        self._call("begin")

    def after_batch(self, committed_at: float) -> None:
        self._call("after_batch")

    def is_due(self, *, quiet: bool) -> bool:
        self._call("is_due")
        return True

    def work(self, *, quiet: bool) -> None:
        self._call("work")
        if "busy" in self.fails:
            raise BusyError("Another run writes.")

    def status(self) -> dict[str, Any]:
        self._call("status")
        return {"built_at": "now", "state": "follow"}

    def told(self, status: Mapping[str, Any]) -> None:
        self._call("told")

    def end(self) -> None:
        self._call("end")


def polled_shop(folder: Path) -> tuple[str, sqlite3.Connection]:
    """A shop that has no log, and one table."""
    connection = sqlite3.connect(folder / "shop.sqlite", isolation_level=None)
    connection.execute("create table t (id integer primary key)")
    return f"sqlite:///{folder / 'shop.sqlite'}", connection


@pytest.mark.parametrize(
    "fails", [{"begin", "after_batch", "work", "status", "told", "end"}, {"is_due"}]
)
def test_no_error_of_what_follows_ends_a_watch(
    fails: set[str], into_duckdb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded, "PAUSE", 0.0)
    url, shop = polled_shop(tmp_path)
    follower = Failing(*fails)
    inside = Inside(url, into_duckdb, PollLog(url, 0.3), follower)
    with inside.running():
        for n in range(3):
            shop.execute(f"insert into t values ({n})")
            inside.wait("select count(*) from raw.t", [(n + 1,)])
    shop.close()
    assert fails <= set(follower.called)
    assert follower.called[-1] == "end"
    said = [text for text in inside.said if "follows the raw tables failed" in text]
    assert sorted(said) == [
        f"watch: what follows the raw tables failed: KeyError: '{call}'. The watch goes on."
        for call in sorted(fails)
    ]


def test_what_a_run_made_that_failed_is_not_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    follower = Failing("after_batch")
    held = Guarded(follower, list[str]().append)
    assert held.is_whole
    held.after_batch(0.0)
    assert not held.is_whole
    assert held.status()["state"] == "failed: KeyError: 'after_batch'"
    # Not at once: what fails may take long.
    assert not held.is_due(quiet=True)
    monkeypatch.setattr(held, "_retry_at", 0.0)
    assert held.is_due(quiet=False)
    follower.fails = {"busy"}
    with pytest.raises(BusyError):
        held.work(quiet=True)
    assert not held.is_whole
    follower.fails = set()
    held.work(quiet=True)
    assert held.is_whole
    assert held.status()["state"] == "follow"


def test_what_follows_ends_where_the_last_word_fails(
    into_duckdb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, shop = polled_shop(tmp_path)
    shop.close()
    follower = Failing()
    inside = Inside(url, into_duckdb, log := PollLog(url, 0.1), follower)
    inside.watch.stop.set()

    def lost(_: object) -> None:
        raise LoadError("The server is gone.")

    monkeypatch.setattr(log, "behind", lost)
    with pytest.raises(LoadError):
        inside.watcher.run()
    assert follower.called[-1] == "end"


def test_the_position_of_what_follows_later(into_duckdb: Any) -> None:
    follower, said = Failing(), list[str]()
    watch = Watch("", into_duckdb.opened, Options(), said.append, follower=follower)
    board = board_of(into_duckdb.opened())
    beside = After(watch, board, Figures("", "", "log", ""), said.append)
    beside.batch(0.0, (1, 4, "binlog.1"))
    follower.is_whole = False
    beside.batch(0.0, (1, 9, "binlog.1"))
    assert beside.status()["position"] == "binlog.1:4"
    beside.work(busy=False)
    assert beside.status()["position"] == "binlog.1:4"
    follower.is_whole = True
    beside.work(busy=False)
    assert beside.status()["position"] == "binlog.1:9"


def test_a_copy_that_cannot_be_made_is_not_counted(tmp_path: Path) -> None:
    board = FileBoard(tmp_path / "w.duckdb")
    (tmp_path / "w.duckdb").write_text("file")
    (tmp_path / "w.duckdb.wal").write_text("what is not in it")
    assert not board.copy()
    (tmp_path / "w.duckdb.wal").unlink()
    assert board.copy()


def test_no_room_for_a_copy(into_duckdb: Any, tmp_path: Path) -> None:
    """No part of it is left, no batch waits for it, and it is tried again as often as is said."""
    (tmp_path / "w.duckdb").write_bytes(b"w" * 1_000_000)
    readers, said = tmp_path / "w.duckdb.readers", list[str]()
    watch = Watch("", into_duckdb.opened, Options(), said.append, copy=0.5)
    figures = Figures("", "", "log", "")
    beside = After(watch, board_of(into_duckdb.opened()), figures, said.append)
    figures.batches = 1
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        beside.copy()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (text,) = said
    assert f"The copy in {readers} cannot be written: File too large." in text
    assert figures.last_error_at
    assert list(readers.iterdir()) == []
    assert not beside.copy_is_due
    time.sleep(0.6)
    assert beside.copy_is_due
    beside.copy()
    assert [file.name for file in readers.iterdir()] == ["w.duckdb"]
    assert (readers / "w.duckdb").stat().st_size == 1_000_000


def test_a_whole_table_counts_while_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MOST_WAITING", 2)
    channel, done = Channel(), threading.Event()

    def work() -> None:
        for _ in range(3):
            heard = Heard()
            heard.whole("t", "truncate")
            channel.put(heard)
        done.set()

    threading.Thread(target=work, daemon=True).start()
    assert not done.wait(0.2)
    channel.get(1)
    assert done.wait(2)


def test_deletions_are_counted_where_a_table_is_compared() -> None:
    """Before and after it is known that the log does not tell everything of it."""
    heard, later, last = Heard(), Heard(), Heard()
    heard.row("t", (b"1",), exists=False)
    heard.row("t", (b"2",), exists=True)
    heard.whole("t", "its definition changed", told=False)
    heard.row("t", (b"3",), exists=False)
    later.row("t", (b"4",), exists=False)
    last.row("t", (b"5",), exists=False)
    last.whole("t", "again", told=False)
    heard.add(later)
    heard.add(last)
    assert (heard.tables, heard.untold, heard.gone) == ({"t": None}, {"t"}, {"t": 4})


def test_rows_that_are_gone_unheard_are_a_mistake(
    logging_postgres: PostgresServer, into_duckdb: Any
) -> None:
    """Where no log tells of them, a batch deletes no more than a load."""
    name, url = shop_of(logging_postgres)
    logging_postgres.execute("create table w (a int); insert into w values (1), (2), (3)", name)
    inside = Inside(url, into_duckdb, log := PostgresLog(url, "inside"))
    inside.watch.every = 0.5
    with inside.running():
        inside.wait("select count(*) from raw.w", [(3,)])
        logging_postgres.execute("delete from t", name)
        inside.wait("select count(*) from raw.t where _deleted_at is null", [(0,)])
        logging_postgres.execute("delete from w", name)
        deadline = time.monotonic() + 10
        while "3 of 3 rows of w are gone" not in str(inside.said):
            assert time.monotonic() < deadline, inside.said
            time.sleep(0.1)
    log.drop()
