"""DuckDB keeps in memory what it reads and writes. It is told to forget that between statements.

A limit for the statements themselves would end a load with a row of 64 MB, with thousands of small
tables or with millions of updates.
"""

import contextlib

import duckdb

# What DuckDB may keep between statements.
KEPT = "20MB"
# For the checkpoint, which is tried again without: it keeps what it merges into larger row groups.
FOR_CHECKPOINT = "128MB"


def forget(connection: duckdb.DuckDBPyConnection) -> None:
    """Give back memory that is not in use; only while no other statement runs."""
    # An error, for what is in use, would end the transaction of the connection itself.
    with connection.cursor() as aside:
        row = aside.execute("select current_setting('memory_limit')").fetchone()
        assert row is not None
        with contextlib.suppress(duckdb.Error):
            aside.execute(f"set memory_limit = '{KEPT}'")
        # Not `reset`, which changes what DuckDB shows but not what it does.
        aside.execute(f"set memory_limit = '{row[0]}'")
