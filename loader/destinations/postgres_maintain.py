"""Statements that refresh statistics and remove dead rows after a load."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import psycopg

from ..errors import LoadError


def maintain(
    connection: psycopg.Connection,
    connect: Callable[[], psycopg.Connection],
    settings: Sequence[str],
    statements: Iterable[str],
) -> None:
    """Run these statements, two at a time; autovacuum will do what cannot be done now.

    `connect` opens a second connection, `settings` are run on both first.
    """
    remaining = list(statements)
    several = len(remaining) > 1

    def work(connection: psycopg.Connection) -> None:
        connection.autocommit = True
        for setting in settings:
            connection.execute(setting.encode())
        with contextlib.suppress(IndexError):
            while True:
                connection.execute(remaining.pop().encode())

    with contextlib.suppress(psycopg.Error, LoadError), ThreadPoolExecutor(1) as aside:
        first = aside.submit(work, connection)
        if several:
            with connect() as second:
                work(second)
        first.result()
