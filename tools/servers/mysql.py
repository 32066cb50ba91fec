"""A private MySQL server, where one is at hand: Debian 12 has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pymysql
from pymysql.constants import CLIENT

from tools.servers.mariadb import MariaDBServer
from tools.servers.programs import ServerError
from tools.servers.server import HOST


class MySQLServer(MariaDBServer):
    """A private server of MySQL itself. Its ordinary user may use only the databases made here."""

    title = "MySQL"
    packages = ("mysql-server-core",)
    binaries = ("mysqld",)
    search_path = ()

    @classmethod
    def find_binaries(cls) -> dict[str, Path]:
        found = super().find_binaries()
        # MariaDB's packages give its server this name, too.
        if found["mysqld"].resolve().name == "mariadbd":
            raise ServerError(f"{cls.title} is not installed: {found['mysqld']} is MariaDB")
        return found

    def _initialise(self) -> None:
        self._call([*self._server, "--initialize-insecure", f"--datadir={self.folder / 'data'}"])

    def _command(self) -> list[str]:
        settings: dict[str, str | int] = {
            "skip-name-resolve": 1,
            "max-allowed-packet": "256M",
            "innodb-buffer-pool-size": "256M",
            "mysqlx": "OFF",
        }
        if self.fast:
            settings |= {"innodb-flush-log-at-trx-commit": 2, "innodb-doublewrite": 0}
        settings |= self.settings
        return [
            *self._server,
            f"--datadir={self.folder / 'data'}",
            f"--tmpdir={self.folder}",
            f"--socket={self._socket}",
            f"--pid-file={self.folder / 'mysqld.pid'}",
            f"--bind-address={HOST}",
            f"--port={self.port}",
            *(f"--{name}={value}" for name, value in settings.items()),
        ]

    @property
    def _server(self) -> list[str]:
        """The program, and what it needs also to begin: no folder of the machine's own server."""
        user = f"--user={self._system_user()}"
        return [str(self._binaries["mysqld"]), "--no-defaults", user, "--secure-file-priv=NULL"]

    def _admin(self) -> pymysql.Connection[Any]:
        return pymysql.connect(
            unix_socket=str(self._socket),
            user="root",
            autocommit=True,
            charset="utf8mb4",
            client_flag=CLIENT.MULTI_STATEMENTS,
        )
