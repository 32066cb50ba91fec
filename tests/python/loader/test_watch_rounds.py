"""Long tests of the watch: random events, and a watcher that is killed again and again.

Before a release, for hundreds of both: WATCH_ROUNDS=75 WATCH_KILLS=30.
"""

import os
from pathlib import Path
from typing import Any

import pytest

from support.watched import MARIADB_TABLES, POSTGRES_TABLES, killed, rounds
from tools.servers import MariaDBServer, MySQLServer, PostgresServer

pytestmark = pytest.mark.long
TARGETS = pytest.mark.parametrize("target", ["duckdb", "postgres"], indirect=True)
ROUNDS, KILLS = (int(os.environ.get(f"WATCH_{name}", 8)) for name in ("ROUNDS", "KILLS"))


@TARGETS
def test_random_rounds_of_mariadb(
    logging_mariadb: MariaDBServer, target: Any, tmp_path: Path
) -> None:
    rounds(logging_mariadb, MARIADB_TABLES, target, tmp_path, ROUNDS, 25)


@TARGETS
def test_random_rounds_of_mysql(logging_mysql: MySQLServer, target: Any, tmp_path: Path) -> None:
    rounds(logging_mysql, MARIADB_TABLES, target, tmp_path, ROUNDS, 25)


@TARGETS
def test_random_rounds_of_postgres(
    logging_postgres: PostgresServer, target: Any, tmp_path: Path
) -> None:
    rounds(logging_postgres, POSTGRES_TABLES, target, tmp_path, ROUNDS, 25)


@TARGETS
def test_a_watcher_of_mariadb_is_killed(
    logging_mariadb: MariaDBServer, target: Any, tmp_path: Path
) -> None:
    killed(logging_mariadb, MARIADB_TABLES, target, tmp_path, KILLS)


@TARGETS
def test_a_watcher_of_mysql_is_killed(
    logging_mysql: MySQLServer, target: Any, tmp_path: Path
) -> None:
    killed(logging_mysql, MARIADB_TABLES, target, tmp_path, KILLS)


@TARGETS
def test_a_watcher_of_postgres_is_killed(
    logging_postgres: PostgresServer, target: Any, tmp_path: Path
) -> None:
    killed(logging_postgres, POSTGRES_TABLES, target, tmp_path, KILLS)
