"""DuckDB keeps in memory what it reads and writes. It is told to forget that between statements.

A limit for the statements themselves would end a load with a row of 64 MB, with thousands of small
tables or with millions of updates.
"""

import contextlib
from collections.abc import Iterator

import duckdb

# What DuckDB may keep between statements.
KEPT = "20MB"
# For the checkpoint, which is tried again without: it keeps what it merges into larger row groups.
FOR_CHECKPOINT = "128MB"
# For grouping the rows of a table by their keys: what is more goes to disk.
FOR_KEYS = "64MB"


@contextlib.contextmanager
def limited(connection: duckdb.DuckDBPyConnection, limit: str) -> Iterator[None]:
    """A limit for the statements within, where DuckDB can keep to it."""
    ((before,),) = connection.execute("select current_setting('memory_limit')").fetchall()
    with contextlib.suppress(duckdb.Error):
        connection.execute(f"set memory_limit = '{limit}'")
    try:
        yield
    finally:
        # Not `reset`, which changes what DuckDB shows but not what it does.
        connection.execute(f"set memory_limit = '{before}'")


def forget(connection: duckdb.DuckDBPyConnection) -> None:
    """Give back memory that is not in use; only while no other statement runs."""
    # An error, for what is in use, would end the transaction of the connection itself.
    with connection.cursor() as aside, limited(aside, KEPT):
        pass
