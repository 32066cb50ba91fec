"""PostgreSQL as source and as warehouse: its types, its COPY, its errors."""

import contextlib
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from selectors import EVENT_READ, DefaultSelector

import psycopg
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult

from ..schema import Kind
from ..urls import is_local, unencrypted
from ..wire import BLOCK_BYTES, Block

# As `format_type` shows them.
TYPE_NAMES: Mapping[Kind, str] = {
    Kind.BOOLEAN: "boolean",
    Kind.SMALLINT: "smallint",
    Kind.INTEGER: "integer",
    Kind.BIGINT: "bigint",
    Kind.DECIMAL: "numeric",
    Kind.DOUBLE: "double precision",
    Kind.DATE: "date",
    Kind.TIMESTAMP: "timestamp without time zone",
    Kind.TEXT: "text",
    Kind.BINARY: "bytea",
}
# What the text of a value depends on.
SETTINGS = (
    "datestyle = 'ISO, YMD'",
    "timezone = 'UTC'",
    "bytea_output = 'hex'",
    "extra_float_digits = 1",
)
# A network that lets nothing through ends a connection in half a minute, and not after hours:
# milliseconds until what was sent is answered; seconds of silence before the first question whether
# somebody is there, between two, and how many. By their names in libpq.
ALIVE = {
    "tcp_user_timeout": "30000",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "4",
}
SPLIT = "split_part({text}, '{mark}', {n})"


def copied_out(connection: psycopg.Connection, statement: str) -> Iterator[memoryview]:
    """The rows of a `copy ... to stdout`, each as it comes.

    Straight from libpq: psycopg's own loop costs more than the server's work on the row. But no
    call may wait in there: psycopg holds Python's lock then, so that no other thread runs, and a
    signal is not heard, until the server says something.
    """
    pgconn = connection.pgconn
    result: PGresult | None = pgconn.exec_(statement.encode())
    while result is not None and result.status == ExecStatus.COPY_OUT:
        size, row = pgconn.get_copy_data(1)
        while size >= 0:
            if size:
                yield row
            else:
                _more(pgconn)
            size, row = pgconn.get_copy_data(1)
        result = _next_result(pgconn)
    if result is not None and result.status != ExecStatus.COMMAND_OK:
        raise psycopg.errors.error_from_result(result, encoding="utf-8")
    while _next_result(pgconn) is not None:
        pass


def _next_result(pgconn: PGconn) -> PGresult | None:
    while pgconn.is_busy():
        _more(pgconn)
    return pgconn.get_result()


def _more(pgconn: PGconn) -> None:
    """Wait until the server says something, and take it."""
    with DefaultSelector() as selector:
        selector.register(pgconn.socket, EVENT_READ)
        selector.select()
    pgconn.consume_input()


def blocks_of_copy(copied: Iterable[bytes | bytearray | memoryview]) -> Iterator[Block]:
    """What COPY gives out, row by row, in blocks of about a megabyte for the wire."""
    rows = iter(copied)
    count = 100
    while data := b"".join(islice(rows, count)):
        yield Block.of(_respelled(data))
        # No work in Python for each row: only for as many as make up a block.
        count = max(1, count * BLOCK_BYTES // max(len(data), BLOCK_BYTES // 4))


def _respelled(data: bytes) -> bytes:
    """COPY's output as the wire spells it.

    COPY doubles a backslash and escapes backspace, form feed and vertical tab. A run of backslashes
    begins at an escape, so replacing pairs from the left is exact.
    """
    if b"\\" not in data:
        return data
    data = data.replace(b"\\\\", b"\\x5C")
    return data.replace(b"\\b", b"\b").replace(b"\\f", b"\f").replace(b"\\v", b"\v")


def server_alive() -> dict[str, str]:
    """The server's settings for the same, so that a lost session does not hold its locks for long.

    Not how long what it sent may wait: the reader may be slow.
    """
    return {f"tcp_{name}": value for name, value in ALIVE.items() if name.startswith("keep")}


def connection_warnings(connection: psycopg.Connection, side: str) -> list[str]:
    """What a person should know about a connection; `side` is source or warehouse."""
    host = connection.info.host
    if is_local(host) or connection.pgconn.ssl_in_use:
        return []
    return [unencrypted(side, host)]


def connection_problem(error: Exception) -> str:
    """What went wrong when connecting, in one line that ends with what to check."""
    text = " ".join(str(error).split())
    if "password" in text or "authentication" in text:
        return "user or password was refused: check both, and pg_hba.conf on the server."
    if "does not exist" in text:
        return text.rsplit("FATAL: ", 1)[-1].strip() + ": check the database and user name."
    if nothing_answers(error):
        return "nothing answers there: check host and port, and that the server runs."
    if "resolve host" in text or "translate host" in text:
        return "the host name is unknown: check its spelling."
    return text.rsplit("failed: ", 1)[-1].removeprefix("FATAL: ").strip()


def hang_up(connection: psycopg.Connection) -> None:
    """End the connection, also while another thread waits for it."""
    # A second handle, so that the driver keeps its own.
    with (
        contextlib.suppress(psycopg.Error, OSError),
        socket.socket(fileno=os.dup(connection.fileno())) as handle,
    ):
        handle.shutdown(socket.SHUT_RDWR)


def nothing_answers(error: Exception) -> bool:
    """Whether connecting failed because no server was there."""
    text = str(error)
    return "Connection refused" in text or "No such file" in text or "timeout" in text.lower()


def is_lost(connection: psycopg.Connection, error: psycopg.Error) -> bool:
    """Whether an error means that the connection was lost."""
    return connection.broken or isinstance(error, psycopg.errors.AdminShutdown)


def said(error: psycopg.Error) -> str:
    """What the server says, or else psycopg."""
    return error.diag.message_primary or str(error).strip()
