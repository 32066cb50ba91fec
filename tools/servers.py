"""Private MariaDB and PostgreSQL servers for tests and benchmarks, and the tests' browser.

Each server has its own data directory in a temporary folder and a free port on the loopback
address. It reads no configuration of the machine, shares nothing with a server that already runs
there, and is stopped and removed on exit:

    with MariaDBServer() as mariadb:
        url = mariadb.create_database("shop")
        mariadb.execute("create table t (id int primary key)", "shop")

`python -m tools.servers` names the missing binaries; with `--install` it installs them where it can
(Debian, as root or with a password-less sudo).
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import quote

import psycopg
import pymysql
from psycopg import sql as pgsql
from pymysql.constants import CLIENT

HOST = "127.0.0.1"
USER = "shop"
# All characters with a meaning in a URL, so that code that forgets to decode it fails.
PASSWORD = "p@ss:w/rd #1%?&"
START_SECONDS = 60.0


class ServerError(RuntimeError):
    """A private server is missing or could not be started or used; the text says why."""


def free_port() -> int:
    """Return a free port of the loopback address."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _die_with_parent() -> None:
    """Ask Linux to stop the server when the test process is killed and cannot do it itself."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


class Program:
    """A program of a Debian package, and where it is installed."""

    title: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    binaries: ClassVar[tuple[str, ...]]
    search_path: ClassVar[tuple[str, ...]]

    @classmethod
    def find_binaries(cls) -> dict[str, Path]:
        """Return the programs by name. Raises ServerError that names the missing ones."""
        folders = [p for pattern in cls.search_path for p in _newest_first(pattern)]
        path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", os.defpath)])
        found = {name: shutil.which(name, path=path) for name in cls.binaries}
        missing = [name for name, where in found.items() if where is None]
        if missing:
            raise ServerError(
                f"{cls.title} is not installed ({', '.join(missing)} not found); "
                f"on Debian: apt-get install {' '.join(cls.packages)}"
            )
        return {name: Path(where) for name, where in found.items() if where is not None}


class Chromium(Program):
    """The browser in which the tests open pages."""

    title = "Chromium"
    packages = ("chromium", "fonts-liberation")
    binaries = ("chromium",)
    search_path = ("/usr/bin",)


class Server(Program, ABC):
    """A database server that runs during its `with` block.

    `fast` turns off what makes a commit survive a power cut (it still survives `kill()`); pass
    False to measure a server with its defaults. `settings` are further server options, by their
    names in the server's manual.
    """

    scheme: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(
        self, *, fast: bool = True, settings: Mapping[str, str | int] | None = None
    ) -> None:
        self.fast = fast
        self.settings = dict(settings or {})
        self.port = 0
        self.password = PASSWORD
        self.user = USER
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._binaries: dict[str, Path] = {}

    # -- what differs by server ------------------------------------------------------------------

    @abstractmethod
    def _initialise(self) -> None:
        """Create the data directory."""

    @abstractmethod
    def _command(self) -> list[str]:
        """The command that runs the server in the foreground."""

    @abstractmethod
    def _create_user(self) -> None:
        """Create the ordinary user that the URLs name; runs once, as administrator."""

    @abstractmethod
    def _create_database(self, name: str) -> None: ...

    @abstractmethod
    def execute(self, sql: str, database: str | None = None) -> list[tuple[Any, ...]]:
        """Run statements, committed one by one, and return the rows of the last.

        Without a database they run as administrator, with one as the ordinary user.
        """

    @abstractmethod
    def load_file(self, path: Path | str, database: str) -> None:
        """Run a file of SQL statements with the server's own client. Raises ServerError."""

    # -- what is common --------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        """The server's temporary folder: data, socket and log."""
        if self._folder is None:
            raise ServerError(f"the {self.title} server was not started")
        return self._folder

    @property
    def pid(self) -> int | None:
        """The server's process id; None while it does not run."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start the server, after `stop()` or `kill()` with its old data. Raises ServerError."""
        if self.pid:
            return
        first = self._folder is None
        if first:
            self._binaries = self.find_binaries()
            # A short path: the name of a Unix socket has room for about 100 bytes.
            self._folder = Path(tempfile.mkdtemp(prefix=f"{self.title.lower()}-"))
            atexit.register(self.close)
            self._own(self._folder)
            self._initialise()
        deadline = time.monotonic() + START_SECONDS
        while not self._run(deadline):
            if time.monotonic() > deadline:
                raise ServerError(f"{self.title} did not start:\n{self._log_tail()}")
            # Another process took the port, or a killed server still holds its memory.
            # A server that ran before needs the same port, so that its URLs stay valid.
            if first:
                self.port = 0
            time.sleep(0.2)
        if first:
            self._create_user()

    @classmethod
    def attach(cls, folder: Path, port: int) -> Self:
        """Use a server that another process started, and will stop. Raises ServerError."""
        server = cls()
        server._binaries = cls.find_binaries()
        server._folder, server.port = folder, port
        return server

    def stop(self) -> None:
        """Stop the server as an administrator would; the data stays for the next `start()`."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(self.stop_signal)
            try:
                self._process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process = None

    def kill(self) -> None:
        """End the server at once, like a crash; the data stays for the next `start()`."""
        if self._process and self._process.poll() is None:
            children = _children(self._process.pid)
            self._process.kill()
            self._process.wait()
            for pid in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._process = None

    def close(self) -> None:
        """Stop the server and remove its folder."""
        atexit.unregister(self.close)
        self.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def create_database(self, name: str) -> str:
        """Create an empty database, in place of one with that name, and return its URL."""
        self._create_database(name)
        return self.url(name)

    def url(self, database: str) -> str:
        """The URL of a database, with user and percent-encoded password."""
        password = quote(self.password, safe="")
        return f"{self.scheme}://{self.user}:{password}@{HOST}:{self.port}/{quote(database)}"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- processes -------------------------------------------------------------------------------

    def _owner(self) -> pwd.struct_passwd | None:
        """The user that the server runs as; None for the current user."""
        return None

    def _own(self, path: Path) -> None:
        if owner := self._owner():
            os.chown(path, owner.pw_uid, owner.pw_gid)

    def _as_owner(self) -> dict[str, Any]:
        if owner := self._owner():
            return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        return {}

    def _call(self, command: Sequence[str | Path], **options: Any) -> None:
        """Run a program to its end. Raises ServerError with what it printed."""
        done = subprocess.run(
            list(map(str, command)), capture_output=True, cwd=self.folder, check=False, **options
        )
        if done.returncode:
            said = (done.stderr or done.stdout).decode(errors="replace").strip()
            raise ServerError(f"{Path(command[0]).name} failed: {said[-2000:]}")

    def _run(self, deadline: float) -> bool:
        """Start one process and wait for it; False when it ended instead of getting ready."""
        self.port = self.port or free_port()
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C goes to the tests, which stop the server in order
                # The signal comes when the starting *thread* ends, so only the main one may ask.
                preexec_fn=_die_with_parent
                if threading.current_thread() is threading.main_thread()
                else None,
                **self._as_owner(),
            )
        while self._process.poll() is None:
            try:
                self.execute("select 1")
            except (pymysql.MySQLError, psycopg.OperationalError, OSError):
                if time.monotonic() > deadline:
                    self.kill()
                    return False
                time.sleep(0.05)
            else:
                return True
        self._process = None
        return False

    def _log_tail(self) -> str:
        log = self.folder / "server.log"
        return log.read_text(errors="replace")[-2000:] if log.exists() else ""


def _newest_first(pattern: str) -> Iterator[Path]:
    """Folders that match an absolute pattern, the highest version first."""
    found = Path("/").glob(pattern.lstrip("/"))
    yield from sorted(found, key=lambda p: [int(x) for x in p.parts if x.isdigit()], reverse=True)


class MariaDBServer(Server):
    """A private MariaDB server. Its ordinary user may use only the databases made here."""

    title = "MariaDB"
    scheme = "mysql"
    packages = ("mariadb-server-core", "mariadb-client-core")
    binaries = ("mariadbd", "mariadb-install-db", "mariadb")
    search_path = ("/usr/sbin", "/usr/local/sbin")

    def _initialise(self) -> None:
        self._call(
            [
                self._binaries["mariadb-install-db"],
                "--no-defaults",
                f"--datadir={self.folder / 'data'}",
                f"--user={self._system_user()}",
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


PROGRAMS: tuple[type[Program], ...] = (MariaDBServer, PostgresServer, Chromium)


def missing_programs() -> dict[type[Program], str]:
    """The missing programs, each with a sentence that says so."""
    missing = {}
    for program in PROGRAMS:
        try:
            program.find_binaries()
        except ServerError as error:
            missing[program] = str(error)
    return missing


def install(programs: Sequence[type[Program]]) -> None:
    """Install the programs' Debian packages, without starting a server.

    Raises ServerError where that is impossible: no apt-get, no right to use it, no network.
    """
    if not shutil.which("apt-get"):
        raise ServerError("only Debian's packages are installed automatically (no apt-get here)")
    sudo: list[str] = []
    if os.geteuid() != 0:
        sudo = ["sudo", "-n"]
        if (
            not shutil.which("sudo")
            or subprocess.run([*sudo, "true"], capture_output=True, check=False).returncode
        ):
            raise ServerError("installing packages needs root or a password-less sudo")
    packages = [package for program in programs for package in program.packages]
    done = subprocess.run(
        [*sudo, "sh", "-euc", _INSTALL, "install", *packages],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise ServerError(f"apt-get install {' '.join(packages)} failed: {(said or ['?'])[-1]}")


# Debian starts a server, and PostgreSQL makes a first cluster, when their packages are installed.
# The tests start their own servers, so both are forbidden during the installation.
_INSTALL = """
policy=/usr/sbin/policy-rc.d
cluster=/etc/postgresql-common/createcluster.d/classicmodels.conf
mine=
trap 'rm -f "$cluster" $mine' EXIT
if [ ! -e "$policy" ]; then
    mine=$policy
    printf '#!/bin/sh\\nexit 101\\n' > "$policy"
    chmod 755 "$policy"
fi
mkdir -p "${cluster%/*}"
echo 'create_main_cluster = false' > "$cluster"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "$@"
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Name the missing programs; exit status 1 when one is missing at the end."""
    parser = argparse.ArgumentParser(description="Find the programs that the tests start.")
    parser.add_argument(
        "--install", action="store_true", help="install what is missing (Debian, root or sudo)"
    )
    options = parser.parse_args(arguments)
    missing = missing_programs()
    if missing and options.install:
        names = " and ".join(program.title for program in missing)
        print(f"Installing {names} (Debian's packages; no server is started) ...", flush=True)
        try:
            install(list(missing))
        except ServerError as error:
            print(f"Not installed: {error}.")
        missing = missing_programs()
    for sentence in missing.values():
        print(sentence)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
