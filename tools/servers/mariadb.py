"""A private MariaDB server."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any, ClassVar

import pymysql
from pymysql.constants import CLIENT

from tools.servers.server import HOST, Server


class MariaDBServer(Server):
    """A private MariaDB server. Its ordinary user may use only the databases made here."""

    title = "MariaDB"
    scheme = "mysql"
    packages: ClassVar[tuple[str, ...]] = ("mariadb-server-core", "mariadb-client-core")
    binaries: ClassVar[tuple[str, ...]] = ("mariadbd", "mariadb-install-db", "mariadb")
    search_path: ClassVar[tuple[str, ...]] = ("/usr/sbin", "/usr/local/sbin")

    def _initialise(self) -> None:
        self._call(
            [
                self._binaries["mariadb-install-db"],
                "--no-defaults",
                f"--datadir={self.folder / 'data'}",
                f"--user={self._system_user()}",
                # Not that of others, where a server that begins removes what another has there.
                f"--tmpdir={self.folder}",
                # The administrator logs in through the socket, as the user that runs the tests.
                "--auth-root-authentication-method=socket",
                f"--auth-root-socket-user={self._system_user()}",
                "--skip-test-db",
            ]
        )

    def _command(self) -> list[str]:
        settings: dict[str, str | int] = {
            "character-set-server": "utf8mb4",
            "skip-name-resolve": 1,
            "max-allowed-packet": "256M",
            "innodb-buffer-pool-size": "256M",
        }
        if self.fast:
            settings |= {
                "innodb-flush-log-at-trx-commit": 2,
                "innodb-doublewrite": 0,
                "sync-frm": 0,
            }
        settings |= self.settings
        return [
            str(self._binaries["mariadbd"]),
            "--no-defaults",
            f"--user={self._system_user()}",
            f"--datadir={self.folder / 'data'}",
            f"--tmpdir={self.folder}",
            f"--socket={self._socket}",
            f"--pid-file={self.folder / 'mariadbd.pid'}",
            f"--bind-address={HOST}",
            f"--port={self.port}",
            *(f"--{name}={value}" for name, value in settings.items()),
        ]

    def _create_user(self) -> None:
        with self._admin() as connection, connection.cursor() as cursor:
            cursor.execute(f"create user {self.user}@{HOST!r} identified by %s", (self.password,))

    def _create_database(self, name: str) -> None:
        quoted = f"`{name.replace('`', '``')}`"
        pattern = quoted.replace("_", r"\_")  # in a grant, an underscore stands for any character
        self.execute(
            f"drop database if exists {quoted};"
            f"create database {quoted} character set utf8mb4;"
            f"grant all on {pattern}.* to {self.user}@{HOST!r}"
        )

    def execute(self, sql: str, database: str | None = None) -> list[tuple[Any, ...]]:
        connection = self._admin() if database is None else self._connect(database)
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            rows = cursor.fetchall()
            while cursor.nextset():
                rows = cursor.fetchall()
            return list(rows)

    def load_file(self, path: Path | str, database: str) -> None:
        with Path(path).open("rb") as dump:
            self._call(
                [
                    self._binaries["mariadb"],
                    "--no-defaults",
                    f"--socket={self._socket}",
                    f"--user={self._system_user()}",
                    "--default-character-set=utf8mb4",
                    database,
                ],
                stdin=dump,
            )

    @property
    def _socket(self) -> Path:
        return self.folder / "s"

    @staticmethod
    def _system_user() -> str:
        return pwd.getpwuid(os.geteuid()).pw_name

    def _admin(self) -> pymysql.Connection[Any]:
        return pymysql.connect(
            unix_socket=str(self._socket),
            user=self._system_user(),
            autocommit=True,
            charset="utf8mb4",
            client_flag=CLIENT.MULTI_STATEMENTS,
        )

    def _connect(self, database: str) -> pymysql.Connection[Any]:
        return pymysql.connect(
            host=HOST,
            port=self.port,
            user=self.user,
            password=self.password,
            database=database,
            autocommit=True,
            charset="utf8mb4",
            client_flag=CLIENT.MULTI_STATEMENTS,
        )
