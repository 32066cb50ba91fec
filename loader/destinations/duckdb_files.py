"""The files of a DuckDB warehouse: opening it, and the staging file, which becomes a new one."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from ..dialects.standard import literal, quote
from ..errors import BusyError, LoadError

# Seconds to wait for a reader that has the warehouse open.
PATIENCE = 10.0
# Tables, then schemas, which would else become part of a new warehouse.
LEFT_OVER = (
    "select 'table', database_name, schema_name, table_name from duckdb_tables() union all"
    " select 'schema', database_name, schema_name, null from duckdb_schemas()"
    " where not internal and schema_name <> 'main' order by 1 desc"
)


def refuse_no_file(path: Path, place: str | Path) -> None:
    """Raise LoadError where there can be no warehouse."""
    folder = path.resolve().parent
    if not folder.is_dir():
        raise LoadError(
            f"The folder {folder} of the warehouse does not exist: create it, or change"
            " DUCKDB_PATH."
        )
    if path.is_dir():
        raise LoadError(f"The warehouse {place} is a folder, not a file: change DUCKDB_PATH.")


def what_failed(error: Exception) -> str:
    """What DuckDB or Arrow says, and where a person can do something about it, what."""
    text = " ".join(str(error).split())
    if "Permission denied" in text or "read-only" in text.lower():
        return "the file or its folder cannot be written: check its permissions"
    if "not a valid DuckDB database" in text:
        return "the file is not a DuckDB database: move it away, or change DUCKDB_PATH"
    return text


def open_staging(
    staging: Path, warehouse: Path, place: str | Path, attached_as: str | None
) -> duckdb.DuckDBPyConnection:
    """Open the staging file, empty; attached under a name where it is to be the warehouse.

    The file is the lock against another loader. Raises BusyError.
    """
    if warehouse.exists() and staging.exists() and warehouse.samefile(staging):
        # A load was killed between the two steps of `give_name`: this file is the warehouse.
        remove_staging(staging)
    try:
        connection = _opened(staging, attached_as)
    except duckdb.IOException as error:
        if "lock" in str(error).lower():
            raise BusyError(f"Another load into {place} is running: wait until it ends.") from None
        # A killed load may leave a file that cannot be opened again.
        remove_staging(staging)
        connection = _opened(staging, attached_as)
    for kind, *names in connection.execute(LEFT_OVER).fetchall():
        name = ".".join(quote(name) for name in names if name)
        connection.execute(f"drop {kind} {name}")
    return connection


def _opened(staging: Path, attached_as: str | None) -> duckdb.DuckDBPyConnection:
    if attached_as is None:
        return duckdb.connect(str(staging))
    connection = duckdb.connect(config={"temp_directory": f"{staging}.tmp"})
    connection.execute(f"attach {literal(str(staging))} as {quote(attached_as)}")
    return connection


def remove_staging(staging: Path) -> None:
    """Remove the staging file and its log."""
    for path in (staging, Path(f"{staging}.wal")):
        path.unlink(missing_ok=True)


def give_name(staging: Path, warehouse: Path, place: str | Path) -> None:
    """Make the staging file, still open, appear as the warehouse; `remove_staging` is the rest.

    Raises LoadError where there is a warehouse by now: it stays as it is.
    """
    try:
        # Not a rename, which would replace what another program has made meanwhile.
        os.link(staging, warehouse)
    except FileExistsError:
        raise LoadError(
            f"Another program created the warehouse {place} during this load, so nothing was"
            " published: run the load again."
        ) from None
    except OSError:
        # A file system without links.
        if os.path.lexists(warehouse):
            raise
        staging.rename(warehouse)


def attach(
    connection: duckdb.DuckDBPyConnection, file: Path, name: str, place: str | Path, *, write: bool
) -> None:
    """Open a file under a name; waits for a writer, and to write also for readers.

    Raises LoadError where others keep it open.
    """
    how = "" if write else " (read_only)"
    with_name = f"attach {literal(str(file))} as {quote(name)}{how}"
    _patiently(lambda: connection.execute(with_name), place)


def opened(
    file: Path, place: str | Path, config: dict[str, Any], patience: float
) -> duckdb.DuckDBPyConnection:
    """Open a file to write, and wait as `attach` does. Raises LoadError, duckdb.Error."""
    return _patiently(lambda: duckdb.connect(str(file), config=config), place, patience)


def _patiently(
    do: Callable[[], duckdb.DuckDBPyConnection], place: str | Path, patience: float = PATIENCE
) -> duckdb.DuckDBPyConnection:
    deadline = time.monotonic() + patience
    while True:
        try:
            return do()
        except duckdb.Error as error:
            if "lock" not in str(error).lower():
                raise
            if time.monotonic() > deadline:
                raise LoadError(
                    f"The warehouse {place} is open in another program"
                    f"{_holder(str(error))}: close it there and run the load again."
                ) from None
            time.sleep(0.02)


def _holder(message: str) -> str:
    """The process that has the file open, as far as DuckDB names it."""
    start = message.find("(PID ")
    return f" {message[start : message.find(')', start) + 1]}" if start >= 0 else ""
