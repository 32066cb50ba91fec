"""Destinations: each stages rows, reads them back, and publishes all tables in one transaction."""

import os
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


# The user of the loader where dbt has another: variable -> parameter of libpq.
LOADER_USER = {
    "LOADER_PGUSER": "user",
    "LOADER_PGPASSWORD": "password",
    "LOADER_PGPASSFILE": "passfile",
    "LOADER_PGSSLCERT": "sslcert",
    "LOADER_PGSSLKEY": "sslkey",
}


def loader_user(environment: Mapping[str, str]) -> dict[str, str]:
    """The loader's own login to PostgreSQL, as parameters of libpq; empty where it has none.

    Raises UsageError.
    """
    given = {n: v for n, v in environment.items() if n.startswith("LOADER_PG") and v}
    if unknown := sorted(given.keys() - LOADER_USER.keys()):
        raise UsageError(
            f"{unknown[0]} is not a setting: the loader writes into the database that dbt reads,"
            f" and only its user can be another: {', '.join(LOADER_USER)}."
        )
    if given and "LOADER_PGUSER" not in given:
        raise UsageError(f"{min(given)} needs LOADER_PGUSER: the user that it belongs to.")
    # Without a password of its own never dbt's: libpq looks for one in the file of passwords.
    empty = {"password": ""} if given else {}
    return empty | {LOADER_USER[name]: value for name, value in given.items()}


def open_destination(kind: str, raw_schema: str, connection: Mapping[str, Any]) -> Destination:
    """The destination of a kind of warehouse; `connection` is what its driver needs.

    For "duckdb" that is a `path`, a `place` where the path is that of a copy, and `kept` where a
    watch has it open; for "postgres" parameters of libpq (those that are left out come from the
    environment, and LOADER_PGUSER goes before any user); for "redshift" parameters of its driver.
    Raises UsageError.
    """
    # Each driver is imported only where it is needed.
    if kind == "duckdb":
        from .duckdb import DuckDBDestination

        return DuckDBDestination(raw_schema, **connection)
    if kind == "postgres":
        from .postgres import PostgresDestination

        options = {n: str(v) for n, v in connection.items()} | loader_user(os.environ)
        return PostgresDestination(raw_schema, **options)
    if kind == "redshift":
        from .redshift.settings import redshift_destination

        return redshift_destination(raw_schema, connection)
    raise UsageError(f"The target {kind} is unknown: use {' or '.join(TARGETS)}.")
