"""A proxy through which a private PostgreSQL answers as Redshift would, for tests.

    prepare(server, "warehouse")
    with Shim(server) as shim:
        redshift_connector.connect(host=HOST, port=shim.port, ssl=False, database="warehouse", ...)

docs/redshift-checks.md says what it proves and what it does not.
"""

from __future__ import annotations

import contextlib
import functools
import re
import socket
import struct
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from support.copy_parquet import CopyError, copy_to_insert, is_copy
from support.dialect import VERSION, refusals, to_postgres
from tools.servers import HOST, PostgresServer

SSL_REQUEST, CANCEL_REQUEST = 80877103, 80877102
SASL = struct.pack("!i", 10)  # the code of an authentication by SCRAM
# Those start-up parameters that PostgreSQL knows; the driver tells Redshift more about itself.
KNOWN = (b"user", b"database", b"application_name")
# What PostgreSQL numbers first of what is not its own, and what Redshift calls its type for bytes.
FIRST_OWN_TYPE, VARBYTE = 16384, 6551
# PostgreSQL says this of a cast that it cannot parse; what is in the quotes is the shim's own.
REFUSAL = re.compile(rb'invalid input syntax for type integer: "(Redshift .*)"', re.DOTALL)


def prepare(server: PostgresServer, database: str) -> None:
    """Give a database what Redshift's catalog has and PostgreSQL's has not."""
    stubs = Path(__file__).with_name("stubs.sql").read_text("utf-8")
    with psycopg.connect(
        host=HOST,
        port=server.port,
        user=server.administrator,
        password=server.password,
        dbname=database,
        autocommit=True,
    ) as connection:
        connection.execute(stubs.replace("'VERSION'", f"'{VERSION}'").encode())


@functools.lru_cache(maxsize=4096)
def _translated(sql: str) -> str:
    """The statement for PostgreSQL; for one that Redshift would refuse, one that fails."""
    found = refusals(sql)
    return _failing(f"has no {found[0]}") if found else to_postgres(sql)


def _failing(why: str) -> str:
    """A statement that PostgreSQL refuses while it parses, so that the transaction fails too."""
    said = why.replace("'", "''").replace('"', "")
    return f"select cast('Redshift {said}' as integer)"


class Shim:
    """Listens as long as its `with` block, and leads each connection to the server's."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._listener = socket.create_server((HOST, 0))
        self._open: set[socket.socket] = set()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Closing alone would leave the thread in its accept().
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for open_socket in list(self._open):
            _close(open_socket)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.create_connection((HOST, self._server.port))
        self._open |= {client, server}
        for both in (client, server):
            both.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with contextlib.suppress(OSError, EOFError):
                if _start(client, server):
                    answers = threading.Thread(target=_answer, args=(server, client), daemon=True)
                    answers.start()
                    _ask(client, server)
                    answers.join()
        finally:
            for both in (client, server):
                _close(both)
                self._open.discard(both)


def _start(client: socket.socket, server: socket.socket) -> bool:
    """Pass the start-up on; False when the connection was only to cancel another."""
    while True:
        (size, code) = struct.unpack("!ii", _read(client, 8))
        body = _read(client, size - 8)
        if code != SSL_REQUEST:
            break
        client.sendall(b"N")
    if code == CANCEL_REQUEST:
        server.sendall(struct.pack("!ii", size, code) + body)
        return False
    words = body.split(b"\0")
    given = dict(zip(words[::2], words[1::2], strict=False))
    kept = b"".join(name + b"\0" + given[name] + b"\0" for name in KNOWN if name in given) + b"\0"
    server.sendall(struct.pack("!ii", len(kept) + 8, code) + kept)
    return True


def _ask(client: socket.socket, server: socket.socket) -> None:
    """Pass what the client asks on, statements as PostgreSQL understands them."""
    copied = 0  # rows of the connection's last copy
    while True:
        kind, body = _message(client)
        if kind in (b"P", b"Q"):
            name, rest = (body.split(b"\0", 1)) if kind == b"P" else (None, body)
            text, rest = rest.split(b"\0", 1)
            sql = text.decode()
            if is_copy(sql):
                try:
                    sql, copied = copy_to_insert(sql)
                except CopyError as error:
                    sql = _failing(f"refuses the copy: {error}")
            else:
                sql = _translated(sql).replace("pg_last_copy_count()", str(copied))
            body = b"" if name is None else name + b"\0"
            body += sql.encode() + b"\0" + rest
        server.sendall(kind + struct.pack("!i", len(body) + 4) + body)
        if kind == b"X":
            return


def _answer(server: socket.socket, client: socket.socket) -> None:
    """Pass what the server answers back, as Redshift would say it."""
    with contextlib.suppress(OSError, EOFError):
        while True:
            kind, body = _message(server)
            if kind == b"S" and body.startswith(b"server_version\0"):
                body = b"server_version\x008.0.2\0"
            elif kind == b"R" and body.startswith(SASL):
                body = body[:-1]  # the driver would take the list's end for a mechanism
            elif kind == b"T":
                body = _described(body)
            elif kind == b"E" and (refusal := REFUSAL.search(body)):
                body = b"SERROR\0C0A000\0M" + refusal[1] + b"\0\0"
            client.sendall(kind + struct.pack("!i", len(body) + 4) + body)
            if kind == b"R" and body == struct.pack("!i", 0):
                # Otherwise the driver expects Redshift's longer descriptions of rows.
                status = b"server_protocol_version\x000\0"
                client.sendall(b"S" + struct.pack("!i", len(status) + 4) + status)
    _close(client)


def _described(body: bytes) -> bytes:
    """The description of a row; the only type of the stubs' own is varbyte, which has a number."""
    changed = bytearray(body)
    place = 2
    for _ in range(struct.unpack_from("!h", body)[0]):
        place = body.index(b"\0", place) + 7
        if struct.unpack_from("!i", body, place)[0] >= FIRST_OWN_TYPE:
            struct.pack_into("!i", changed, place, VARBYTE)
        place += 12
    return bytes(changed)


def _message(source: socket.socket) -> tuple[bytes, bytes]:
    kind = _read(source, 1)
    (size,) = struct.unpack("!i", _read(source, 4))
    return kind, _read(source, size - 4)


def _read(source: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = source.recv(size - len(parts))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def _close(open_socket: socket.socket) -> None:
    with contextlib.suppress(OSError):
        open_socket.shutdown(socket.SHUT_RDWR)
    open_socket.close()
