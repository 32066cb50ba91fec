"""Where a watcher says how it is, and how it keeps a second one away."""

import contextlib
import json
import shutil
import socket
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import psycopg

from ..answering import answering
from ..destinations import Destination
from ..destinations.duckdb import DuckDBDestination
from ..destinations.postgres import PostgresDestination
from ..destinations.postgres_lock import SessionLock
from ..dialects.postgres import hang_up
from ..dialects.standard import literal, quote
from ..errors import BusyError, LoadError, UsageError
from ..lock import FileLock, Lock

Status = dict[str, Any]


class Board(Protocol):
    """Beside one warehouse."""

    def name(self) -> str:
        """Tells this warehouse from others, for what the source keeps for it."""

    def former_name(self) -> str:
        """What earlier versions took for that; another machine's warehouse may have the same."""

    def lock(self) -> Lock:
        """The lock of the warehouse's one watcher."""

    def keep(self) -> None:
        """See that the lock that was taken is still there. Raises BusyError."""

    def write(self, status: Status) -> None:
        """Say how it is; never an error, which would end a watch."""

    def read(self) -> Status | None:
        """What was said last."""

    def remove(self) -> None:
        """Forget it."""

    def copy(self) -> bool:
        """Give readers a new copy of the warehouse; whether it could be made now.

        Raises LoadError where it cannot be written, and UsageError where none is needed.
        """


def board_of(destination: Destination) -> Board:
    """Raises UsageError for a warehouse that cannot be watched into."""
    if isinstance(destination, DuckDBDestination):
        return FileBoard(destination.path)
    if isinstance(destination, PostgresDestination):
        return TableBoard(destination)
    raise UsageError("watch writes into duckdb and postgres: load into Redshift with make build.")


class FileBoard:
    """A file beside the one of DuckDB, which only one process can open."""

    def __init__(self, warehouse: Path) -> None:
        self._warehouse = file = warehouse.resolve()
        self._log_of_changes = file.with_name(f"{file.name}.wal")
        self._file = file.with_name(f"{file.name}.watch.json")
        self._lock = file.with_name(f"{file.name}.watch.lock")

    def name(self) -> str:
        return f"{socket.gethostname()} {self._file}"

    def former_name(self) -> str:
        return self.name()

    def lock(self) -> Lock:
        return FileLock(self._lock)

    def keep(self) -> None:
        """The system takes it from no process that runs."""

    def write(self, status: Status) -> None:
        new = self._file.with_name(f"{self._file.name}.new")
        with contextlib.suppress(OSError):
            new.write_text(json.dumps(status), encoding="utf-8")
            new.replace(self._file)

    def read(self) -> Status | None:
        try:
            found: Status = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found

    def remove(self) -> None:
        self._file.unlink(missing_ok=True)

    def copy(self) -> bool:
        """Of the same name in a folder beside it: views name the file that they are in."""
        if self._log_of_changes.exists() or not self._warehouse.exists():
            return False  # what is not yet in the file itself would be missing
        folder = self._warehouse.with_name(f"{self._warehouse.name}.readers")
        new = folder / f"{self._warehouse.name}.new"
        try:
            folder.mkdir(exist_ok=True)
            shutil.copyfile(self._warehouse, new)
            new.replace(folder / self._warehouse.name)
        except OSError as error:
            # A part of a file helps nobody, and takes the room that the raw tables may need.
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise LoadError(f"The copy in {folder} cannot be written: {error.strerror}.") from None
        return True


class TableBoard:
    """A table of one row in the raw schema."""

    def __init__(self, destination: PostgresDestination) -> None:
        self._connect = destination.connect
        self._greet, self._abort = destination.greet, destination.abort
        self._schema = schema = destination.schema
        self._table = f"{quote(schema)}._load_watch"
        self._lock = SessionLock(self._connect, f"{schema} watch")
        self._connection: psycopg.Connection | None = None

    def name(self) -> str:
        # `localhost` is another server on each machine.
        try:
            ((server,),) = self._ask("select system_identifier from pg_control_system()")
        except psycopg.Error:  # the user may not call it
            return self.former_name()
        return f"{self.former_name()} {server}"

    def former_name(self) -> str:
        self._ask("select 1")
        assert self._connection is not None
        info = self._connection.info
        return f"{info.host}:{info.port}/{info.dbname} {self._schema}"

    def lock(self) -> Lock:
        return self._lock

    def keep(self) -> None:
        with answering(self._greet, self._abort):
            holder = self._lock.take_again()
        if holder:
            raise BusyError(f"The server lost the watch's lock, and meanwhile {holder} took it.")

    def _ask(self, sql: str) -> list[tuple[Any, ...]]:
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
            self._connection.autocommit = True
        with answering(self._greet, partial(hang_up, self._connection)):
            cursor = self._connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def write(self, status: Status) -> None:
        text = literal(json.dumps(status).replace("\\u0000", ""))
        try:
            if not self._ask(f"select to_regnamespace({literal(quote(self._schema))})")[0][0]:
                return  # the first load makes it
            self._ask(f"create table if not exists {self._table} (status text)")
            with_one = f"update {self._table} set status = {text} returning 1"
            if not self._ask(with_one):
                self._ask(f"insert into {self._table} values ({text})")
        except (psycopg.Error, LoadError):
            self._connection = None

    def read(self) -> Status | None:
        try:
            rows = self._ask(f"select status from {self._table}")
        except psycopg.Error:
            return None
        return json.loads(rows[0][0]) if rows else None

    def remove(self) -> None:
        with contextlib.suppress(psycopg.Error):
            self._ask(f"drop table if exists {self._table}")

    def copy(self) -> bool:
        raise UsageError("--copy is for DuckDB: everybody can read PostgreSQL while it is written.")
