"""Destinations: each stages rows, reads them back, and publishes all tables in one transaction."""

from collections.abc import Mapping
from typing import Any

from ..config import TARGETS
from ..errors import UsageError
from .base import Changes, Destination, Kept, KeyFault, Rows, Stamp, Within

__all__ = [
    "Changes",
    "Destination",
    "Kept",
    "KeyFault",
    "Rows",
    "Stamp",
    "Within",
    "open_destination",
]


def open_destination(kind: str, raw_schema: str, connection: Mapping[str, Any]) -> Destination:
    """The destination of a kind of warehouse; `connection` is what its driver needs.

    For "duckdb" that is a `path`, a `place` where the path is that of a copy, and `kept` where a
    watch has it open; for "postgres"
    parameters of libpq (those that are left out come from the environment); for "redshift"
    parameters of its driver. Raises UsageError.
    """
    # Each driver is imported only where it is needed.
    if kind == "duckdb":
        from .duckdb import DuckDBDestination

        return DuckDBDestination(raw_schema, **connection)
    if kind == "postgres":
        from .postgres import PostgresDestination

        return PostgresDestination(raw_schema, **{n: str(v) for n, v in connection.items()})
    if kind == "redshift":
        from .redshift.settings import redshift_destination

        return redshift_destination(raw_schema, connection)
    raise UsageError(f"The target {kind} is unknown: use {' or '.join(TARGETS)}.")
