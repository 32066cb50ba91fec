"""A private PostgreSQL server."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
from pathlib import Path
from typing import Any, ClassVar

import psycopg
from psycopg import sql as pgsql

from tools.servers.programs import ServerError
from tools.servers.server import HOST, Server


class PostgresServer(Server):
    """A private PostgreSQL server. Its ordinary user owns the databases made here."""

    title = "PostgreSQL"
    scheme = "postgresql"
    packages = ("postgresql",)
    binaries = ("postgres", "initdb", "psql")
    search_path = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")
    stop_signal = signal.SIGINT  # "fast": open sessions are ended, not waited for
    administrator: ClassVar[str] = "postgres"

    def _owner(self) -> pwd.struct_passwd | None:
        if os.geteuid() != 0:
            return None
        for name in ("postgres", "nobody"):  # PostgreSQL refuses to run as root
            with contextlib.suppress(KeyError):
                return pwd.getpwnam(name)
        raise ServerError("PostgreSQL refuses to run as root, and there is no other user to run it")

    def _initialise(self) -> None:
        secret = self.folder / "password"
        secret.write_text(self.password + "\n", encoding="utf-8")
        self._own(secret)
        self._call(
            [
                self._binaries["initdb"],
                f"--pgdata={self.folder / 'data'}",
                f"--username={self.administrator}",
                f"--pwfile={secret}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ],
            **self._as_owner(),
        )
        secret.unlink()

    def _command(self) -> list[str]:
        settings: dict[str, str | int] = {
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": str(self.folder),
            "max_connections": 100,
        }
        if self.fast:
            settings |= {
                "fsync": "off",
                "full_page_writes": "off",
                "max_wal_size": "4GB",
            }
        settings |= self.settings
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [str(self._binaries["postgres"]), "-D", str(self.folder / "data"), *options]

    def _create_user(self) -> None:
        self.execute(
            pgsql.SQL("create role {} login password {}")
            .format(pgsql.Identifier(self.user), pgsql.Literal(self.password))
            .as_string(None)
        )

    def _create_database(self, name: str) -> None:
        database = pgsql.Identifier(name).as_string(None)
        self.execute(f"drop database if exists {database} with (force)")
        self.execute(f"create database {database} owner {self.user}")

    def execute(self, sql: str, database: str | None = None) -> list[tuple[Any, ...]]:
        with psycopg.connect(
            host=HOST,
            port=self.port,
            user=self.administrator if database is None else self.user,
            password=self.password,
            dbname=database or "postgres",
            autocommit=True,
        ) as connection:
            # As bytes, because psycopg accepts only literal text as str.
            cursor = connection.execute(sql.encode())
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []

    def load_file(self, path: Path | str, database: str) -> None:
        with Path(path).open("rb") as dump:
            self._call(
                [self._binaries["psql"], "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-"],
                stdin=dump,
                env={**os.environ, **self.environment(database)},
            )

    def environment(self, database: str) -> dict[str, str]:
        """The libpq variables that reach a database as the ordinary user."""
        return {
            "PGHOST": HOST,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGDATABASE": database,
        }
