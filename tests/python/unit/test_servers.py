"""The private servers: what the other tests rely on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
import pymysql
import pytest

from conftest import require
from tools.servers import MariaDBServer, PostgresServer, Server, ServerError


@pytest.fixture(params=["mariadb", "postgres"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


def test_url_reaches_the_database_it_names(server: Server) -> None:
    url = urlsplit(server.create_database("its_own"))
    assert url.hostname == "127.0.0.1" and url.port and url.username and url.password
    server.execute("create table seen (id int)", "its_own")
    connect: Any = psycopg.connect if url.scheme == "postgresql" else pymysql.connect
    with connect(
        host=url.hostname,
        port=url.port,
        user=url.username,
        password=unquote(url.password),
        **{"dbname" if url.scheme == "postgresql" else "database": url.path.strip("/")},
    ) as connection:
        cursor = connection.cursor()
        cursor.execute("select count(*) from seen")
        assert cursor.fetchone() == (0,)


def test_create_database_empties_one_that_exists(server: Server) -> None:
    server.create_database("again")
    server.execute("create table old (id int)", "again")
    server.create_database("again")
    server.execute("create table old (id int)", "again")


def test_load_file_runs_sql_and_reports_what_is_wrong(server: Server, tmp_path: Path) -> None:
    server.create_database("loaded")
    dump = tmp_path / "dump.sql"
    dump.write_text("create table t (name varchar(9)); insert into t values ('Zoë');", "utf-8")
    server.load_file(dump, "loaded")
    assert server.execute("select name from t", "loaded") == [("Zoë",)]
    dump.write_text("insert into nowhere values (1);", "utf-8")
    with pytest.raises(ServerError, match="nowhere"):
        server.load_file(dump, "loaded")


@pytest.mark.parametrize("kind", [MariaDBServer, PostgresServer])
def test_a_crash_keeps_what_was_committed_and_the_end_leaves_nothing(kind: type[Server]) -> None:
    require(kind)
    with kind(fast=False) as server:
        url = server.create_database("kept")
        server.execute("create table t (id int primary key); insert into t values (1)", "kept")
        server.kill()
        assert server.pid is None
        server.start()
        assert server.url("kept") == url
        assert server.execute("select id from t", "kept") == [(1,)]
        folder, pid = server.folder, server.pid
    assert not folder.exists()
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_missing_binaries_are_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MariaDBServer, "search_path", ())
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ServerError, match=r"mariadbd.* not found\); on Debian: apt-get install"):
        MariaDBServer.find_binaries()
