"""PostgreSQL's planner knows the tables as soon as a load has ended."""

import sqlite3
from pathlib import Path

import psycopg
import pytest

from loader import LoadError, PostgresDestination, load
from support.one_run import own
from tools.servers import PostgresServer


@pytest.mark.parametrize("sessions", [2, 1])
def test_each_table_is_analysed(
    sessions: int, postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the server gives the load no second session."""
    connect, opened = PostgresDestination.connect, []

    def counted(self: PostgresDestination, **more: str) -> psycopg.Connection:
        opened.append(1)
        if len(opened) > sessions:
            raise LoadError("too many connections")
        return connect(self, **more)

    monkeypatch.setattr(PostgresDestination, "connect", counted)
    with sqlite3.connect(tmp_path / "shop.sqlite") as shop:
        for name in "abc":
            shop.execute(f"create table {name} (id integer primary key, v text)")
            shop.execute(f"insert into {name} values (1, 'x'), (2, 'y')")
    target = own(f"statistics_{sessions}")
    options = psycopg.conninfo.conninfo_to_dict(postgres.create_database(target))
    url = f"sqlite:///{tmp_path}/shop.sqlite"
    load(url, PostgresDestination("raw", **{name: str(value) for name, value in options.items()}))
    assert len(opened) == 2
    assert postgres.execute(
        "select tablename from pg_stats where schemaname = 'raw' and attname = 'v' order by 1",
        target,
    ) == [("a",), ("b",), ("c",)]
