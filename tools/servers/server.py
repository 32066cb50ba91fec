"""What all private servers have in common: folder, port, start, stop."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import quote

import psycopg
import pymysql

from tools.servers.programs import Program, ServerError

HOST = "127.0.0.1"
USER = "shop"
# All characters with a meaning in a URL, so that code that forgets to decode it fails.
PASSWORD = "p@ss:w/rd #1%?&"
START_SECONDS = 60.0


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
