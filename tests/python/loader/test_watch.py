"""The watch, one promise at a time; its ten complaints are those of users of such tools."""

import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from loader import Options, load
from support.one_run import own
from support.watched import (
    MARIADB_TABLES,
    POSTGRES_TABLES,
    Watched,
    ended,
    miscounted,
    rounds,
    settled,
)
from tools.servers import MariaDBServer, PostgresServer

KEYS = "select table_name, count(*) from raw._load_tables where mode = 'keys' group by 1 order by 1"
WHOLE = "compared as a whole"


class Watching:
    """A shop of one table `t`, and a watch of it that has loaded it."""

    def __init__(self, server: Any, target: Any, folder: Path, tables: str = "") -> None:
        self.server, self.target = server, target
        self.name = own("shop")
        self.url = server.create_database(self.name)
        self.run(tables or "create table t (id int primary key, v varchar(20))")
        self.run("insert into t values (1, 'one'), (2, 'two')" if not tables else "select 1")
        self.watched = Watched(self.url, target.arguments, target.environment, folder / "log")

    def run(self, sql: str) -> None:
        """In the shop."""
        self.server.execute(sql, self.name)

    def begin(self, *arguments: str) -> None:
        """Start it and wait until it is as the source."""
        before = self.watched.said
        self.watched.start(*arguments)
        deadline = time.monotonic() + 20
        while "rows are as the source" not in (said := self.watched.said[len(before) :]):
            if "reads on from" in said:
                return
            assert self.watched.alive, said
            assert time.monotonic() < deadline, said
            time.sleep(0.05)

    def settle(self) -> str:
        """Wait until raw is as the source; what was said."""
        settled(self.watched, self.target.opened)
        return self.watched.said


@pytest.fixture
def shop(logging_mariadb: MariaDBServer, into_duckdb: Any, tmp_path: Path) -> Iterator[Watching]:
    """MariaDB into DuckDB."""
    watching = Watching(logging_mariadb, into_duckdb, tmp_path)
    with ended(watching.watched):
        yield watching


@pytest.fixture
def postgres_shop(
    logging_postgres: PostgresServer, into_duckdb: Any, tmp_path: Path
) -> Iterator[Watching]:
    """PostgreSQL into DuckDB."""
    watching = Watching(logging_postgres, into_duckdb, tmp_path)
    with ended(watching.watched):
        yield watching


def test_random_rounds_of_mariadb(
    logging_mariadb: MariaDBServer, into_duckdb: Any, tmp_path: Path
) -> None:
    said = rounds(logging_mariadb, MARIADB_TABLES, into_duckdb, tmp_path, 2, 10)
    assert "(cascade)" in said
    assert len(into_duckdb.ask(KEYS)) > 1


@pytest.mark.long
def test_random_rounds_of_postgres(
    logging_postgres: PostgresServer, into_postgres: Any, tmp_path: Path
) -> None:
    rounds(logging_postgres, POSTGRES_TABLES, into_postgres, tmp_path, 2, 10)
    assert len(into_postgres.ask(KEYS)) > 1


DIFFICULT = {
    "tinyint unsigned": ("0", "255"),
    "smallint": ("-32768", "7"),
    "mediumint unsigned": ("16777215", "8"),
    "bigint": ("-9223372036854775808", "9223372036854775807"),
    "bigint unsigned": ("18446744073709551615", "9007199254740993"),
    "decimal(30,10)": ("-0.0000000001", "12345678901234567890.0123456789"),
    "decimal(9,0)": ("-999999999", "0"),
    "char(20) character set latin1": ("'\u20acuro'", "'caf\u00e9'"),
    "varchar(300) character set utf8mb4": ("'\U0001f600 tab\t'", "'back\\\\slash'"),
    "binary(6)": ("x'00ff00'", "x'5c'"),
    "varbinary(9)": ("x''", "x'5c7800'"),
    "date": ("'1000-01-01'", "'9999-12-31'"),
    "datetime(6)": ("'2026-01-01 00:00:00.000001'", "'2026-01-01 10:20:30.5'"),
    "timestamp(2)": ("'1970-01-01 00:00:01.25'", "'2038-01-19 03:14:07'"),
    "time(3)": ("'-838:59:58.999'", "'-00:00:00.25'"),
    "year": ("1901", "2155"),
}


def test_each_type_of_key_is_read_from_the_log(
    logging_mariadb: MariaDBServer, into_duckdb: Any, tmp_path: Path
) -> None:
    tables = [
        f"create table t{n} (k {kind} primary key, v text)" for n, kind in enumerate(DIFFICULT)
    ]
    logging_mariadb.execute("set global log_bin_compress = 1, global time_zone = '+00:00'")
    shop = Watching(logging_mariadb, into_duckdb, tmp_path, "; ".join(tables))
    with ended(shop.watched):
        shop.begin()
        for n, (first, second) in enumerate(DIFFICULT.values()):
            shop.run(
                f"insert into t{n} values ({first}, repeat('long', 300));"
                f"update t{n} set v = 'changed', k = {second};"
                f"insert into t{n} values ({first}, '')"
            )
        shop.settle()
        for n in range(len(DIFFICULT)):
            shop.run(f"delete from t{n} where v = ''; update t{n} set v = repeat('new', 300)")
        said = shop.settle()
    logging_mariadb.execute("set global log_bin_compress = 0")
    assert WHOLE not in said
    assert len(into_duckdb.ask(KEYS)) == len(DIFFICULT)


def test_what_rows_do_not_tell(shop: Watching) -> None:
    """Complaints 5, 7 and 9: XA, TRUNCATE, key changes, DDL, hidden columns, statements."""
    shop.begin()
    shop.run("update t set id = id + 100")
    assert WHOLE not in shop.settle()
    shop.run("xa start 'a'; insert into t values (7, 'xa'); xa end 'a'; xa prepare 'a'")
    shop.run("insert into t values (8, 'between')")
    shop.settle()
    shop.run("xa commit 'a'")
    shop.settle()
    assert shop.target.ask("select v from raw.t where id = 7") == [("xa",)]
    shop.run(
        "alter table t add column b longtext first, add unique (b);"
        "insert into t values ('x', 9, 'y')"
    )
    assert "the source ran alter table" in shop.settle()
    shop.run("update t set b = 'z' where id = 9; insert into t values ('w', 10, 'y')")
    shop.settle()
    shop.run("truncate t; insert into t values ('a', 1, 'b')")
    assert "the source ran truncate" in shop.settle()
    shop.server.execute(
        f"set session binlog_format = statement; update {shop.name}.t set v = 'statement'"
    )
    assert "a statement changed rows" in shop.settle()
    shop.run("create table more (id int primary key); insert into more values (1)")
    shop.settle()
    shop.run("insert into more values (2); update t set v = 'last'")
    shop.settle()
    assert ("more", 1) in shop.target.ask(KEYS)


def test_an_audit_reports_what_the_log_did_not_lead_to(shop: Watching) -> None:
    shop.begin("--audit", "1s")
    shop.server.execute(
        f"set session sql_log_bin = 0; update {shop.name}.t set v = 'hidden' where id = 1"
    )
    shop.watched.wait_for("fault of the watching")
    assert "t (1 rows)" in shop.settle()
    status = json.loads(shop.watched.call("status", "--json").stdout)
    assert status["last_audit"]


def test_logs_that_are_lost(shop: Watching) -> None:
    """Complaints 2, 3 and 4: purged, begun anew; unchanged rows are not copied again."""
    shop.begin()
    shop.watched.end()
    shop.server.execute("flush binary logs; flush binary logs")
    ((file, _),) = [row[:2] for row in shop.server.execute("show master status")]
    shop.run("insert into t values (3, 'three')")
    shop.server.execute(f"purge binary logs to '{file}'")
    shop.watched.start()
    shop.watched.wait_for("all tables are compared: the log was lost")
    shop.settle()
    versions = shop.target.ask("select id, _batch_id from raw.t order by id")
    assert versions[0][1] == versions[1][1] < versions[2][1]
    shop.watched.end()
    shop.server.execute("reset master")
    shop.run("insert into t values (4, 'four'), (5, 'five')")
    before = shop.watched.said.count("goes on from now")
    shop.watched.start()
    shop.settle()
    assert shop.watched.said.count("goes on from now") == before + 1
    shop.run("insert into t values (6, 'six')")
    shop.settle()


def test_a_server_that_was_restored(shop: Watching) -> None:
    """Complaint 4: its log has the same files and places as before, and other rows."""
    server, begun = shop.server, shop.server.folder / "data"
    server.stop()
    shutil.copytree(begun, begun.with_name("backup"))
    server.start()
    shop.begin()
    shop.run("insert into t values (3, 'lost with the server')")
    shop.settle()
    shop.watched.end()
    server.stop()
    shutil.rmtree(begun)
    begun.with_name("backup").rename(begun)
    server.start()
    for n in range(4, 12):
        shop.run(f"insert into t values ({n}, 'other history')")
    shop.watched.start()
    shop.watched.wait_for("goes on from now")
    shop.settle()


def test_what_a_log_tells_is_gone_also_where_the_table_changed(postgres_shop: Watching) -> None:
    """Nobody followed as the definition changed, so the whole table is read: it is no mistake."""
    shop = postgres_shop
    shop.begin()
    shop.watched.end()
    shop.run("alter table t add column w int; delete from t")
    shop.begin()
    assert "more than --max-delete-share" not in shop.settle()
    assert shop.target.ask("select count(*) from raw.t where _deleted_at is null") == [(0,)]


def test_a_row_that_goes_back_is_seen_by_the_next_load(shop: Watching) -> None:
    shop.run("insert into t select seq, 'old' from seq_3_to_9000")
    load(shop.url, shop.target.opened(), Options())
    shop.begin()
    shop.run("update t set v = 'new' where id = 5000")
    shop.settle()
    shop.watched.end()
    shop.run("update t set v = 'old' where id = 5000")
    load(shop.url, shop.target.opened(), Options())
    assert shop.target.ask("select v from raw.t where id = 5000") == [("old",)]


def test_one_watcher_and_loads_beside_it(shop: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.begin()
    second = shop.watched.call()
    assert second.returncode == 75
    assert "is writing into" in second.stderr
    monkeypatch.setenv("WAIT", "20")
    for n in range(3):
        shop.run(f"insert into t values ({n + 10}, 'beside')")
        with shop.target.opened().alone("make build", print):
            time.sleep(0.3)
            load(shop.url, shop.target.opened(), Options())
        shop.run(f"insert into t values ({n + 20}, 'heard')")
        shop.settle()
    code, seconds = shop.watched.end()
    assert code == 0 and seconds < 5, f"exit code {code} after {seconds:.1f} s"
    assert not miscounted(shop.target.ask)
    status = shop.watched.call("status")
    assert status.returncode == 1
    assert "stopped" in status.stdout


@pytest.mark.long
def test_the_source_is_restarted(shop: Watching) -> None:
    shop.begin()
    shop.server.stop()
    shop.watched.wait_for("It tries again")
    shop.server.start()
    shop.run("insert into t values (3, 'after'); update t set v = 'after' where id = 1")
    assert "Traceback" not in shop.settle()


def test_without_the_right_or_a_log_it_polls(
    mariadb: MariaDBServer, into_duckdb: Any, tmp_path: Path
) -> None:
    shop = Watching(mariadb, into_duckdb, tmp_path)
    refused = shop.watched.call("--mode", "log")
    assert refused.returncode == 2
    assert "set log_bin and binlog_format=ROW" in refused.stderr
    with sqlite3.connect(tmp_path / "shop.sqlite") as connection:
        connection.execute("create table t (id integer primary key, v text)")
    shop.watched.url = f"sqlite:///{tmp_path / 'shop.sqlite'}"
    with ended(shop.watched):
        shop.watched.start("--every", "0.5s", "--audit", "0.2s")
        shop.watched.wait_for("poll: compares all tables every 0.5 s, because: a file has no log")
        with sqlite3.connect(tmp_path / "shop.sqlite") as connection:
            connection.execute("insert into t values (1, 'polled')")
        assert "fault" not in shop.settle()


def test_rights_are_asked_for(
    logging_mariadb: MariaDBServer, logging_postgres: PostgresServer, into_duckdb: Any,
    tmp_path: Path,
) -> None:  # fmt: skip
    user = logging_mariadb.user
    logging_mariadb.execute(f"revoke replication slave on *.* from {user}@'127.0.0.1'")
    try:
        refused = Watching(logging_mariadb, into_duckdb, tmp_path).watched.call("--mode", "log")
        assert refused.returncode == 2
        assert f"grant replication slave on *.* to {user}" in refused.stderr
        logging_mariadb.execute("change master to master_host = '127.0.0.1', master_port = 1")
        logging_mariadb.execute("start slave sql_thread")
        refused = Watching(logging_mariadb, into_duckdb, tmp_path).watched.call("--mode", "log")
        assert "is a replica that does not log what it gets" in refused.stderr
    finally:
        logging_mariadb.execute("stop slave; reset slave all")
        logging_mariadb.execute(f"grant replication slave on *.* to {user}@'127.0.0.1'")
    logging_postgres.execute(f"alter role {user} noreplication")
    try:
        refused = Watching(logging_postgres, into_duckdb, tmp_path).watched.call("--mode", "log")
        assert refused.returncode == 2
        assert f"alter role {user} replication" in refused.stderr
    finally:
        logging_postgres.execute(f"alter role {user} replication")


def test_a_large_value_that_did_not_change(postgres_shop: Watching) -> None:
    """Complaint 6: the log leaves such a value out."""
    shop = postgres_shop
    shop.run("alter table t alter v type text")
    shop.run(
        "update t set v = (select string_agg(md5(s::text), '') from generate_series(1, 999) s)"
    )
    shop.run("alter table t add column n int default 0")
    shop.begin()
    shop.run("update t set n = n + 1")
    assert WHOLE not in shop.settle()
    assert shop.target.ask("select length(v), n from raw.t") == [(999 * 32, 1)] * 2


def test_slots(postgres_shop: Watching) -> None:
    """Complaints 1, 4 and 10: idle, still active, gone, made anew; unwatch drops it."""
    shop = postgres_shop
    slot = "select slot_name, confirmed_flush_lsn from pg_replication_slots where database = %s"
    slot = slot.replace("%s", f"'{shop.name}'")
    shop.begin()
    shop.run("begin; update t set v = 'x' where id = 1; delete from t where id = 1; commit")
    shop.settle()
    ((name, first),) = shop.server.execute(slot)
    shop.watched.kill()
    shop.begin()
    shop.run("insert into t values (3, 'after the kill')")
    shop.settle()
    assert "log was lost" not in shop.watched.said
    assert shop.server.execute(slot) > [(name, first)]
    shop.watched.end()
    shop.server.execute(f"select pg_drop_replication_slot('{name}')", shop.name)
    shop.run("insert into t values (4, 'nobody heard')")
    shop.watched.start()
    shop.watched.wait_for(f"the slot {name} is gone, so all tables are compared")
    shop.settle()
    shop.watched.end()
    shop.server.execute(
        f"select pg_drop_replication_slot('{name}');"
        f"select pg_create_logical_replication_slot('{name}', 'pgoutput')", shop.name,
    )  # fmt: skip
    shop.run("insert into t values (5, 'nobody heard')")
    shop.watched.start()
    shop.watched.wait_for("was made anew")
    shop.settle()
    status = json.loads(shop.watched.call("status", "--json").stdout)
    assert status["bytes_kept"] is not None
    assert "waits until open transactions have ended" in shop.watched.said
    shop.watched.end()
    shop.watched.start("--mode", "poll")
    shop.watched.wait_for(f"the slot {name} is still there")
    shop.watched.end()
    assert f"the slot {name} is dropped" in shop.watched.call("unwatch").stderr
    assert shop.server.execute(slot) == []


def test_readers_of_a_copy(shop: Watching) -> None:
    shop.begin("--copy", "0.2s")
    shop.run("insert into t values (3, 'three')")
    copy = Path(f"{shop.target.arguments[-1]}.readers", Path(shop.target.arguments[-1]).name)
    deadline = time.monotonic() + 20
    while True:
        if copy.exists():
            with duckdb.connect(str(copy), read_only=True) as connection:
                if connection.execute("select 1 from raw.t where id = 3").fetchall():
                    break
        assert time.monotonic() < deadline, shop.watched.said
        time.sleep(0.1)
