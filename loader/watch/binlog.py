"""MariaDB's binary log over the replication protocol: its events, as far as a doorbell needs them.

Each event has a header of 19 bytes: when, type, server, size, where the next one begins, flags.
What events mean is in the server's documentation ("Replication Protocol").
"""

import hashlib
import random
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pymysql
from pymysql.constants import COMMAND

from ..errors import LoadError
from ..sources.mysql_connection import connect, hang_up
from ..urls import SourceUrl
from .changes import LogLostError, LogRefusedError, LogSilentError

HEADER = struct.Struct("<IBIIIH")
QUERY, ROTATE, FORMAT, XID, TABLE_MAP, INCIDENT = 2, 4, 15, 16, 19, 26
XA_PREPARE, QUERY_COMPRESSED, GTID, HEARTBEAT = 38, 165, 162, 27
# Of MySQL alone.
MYSQL_GTID, PARTIAL_UPDATES, PAYLOAD, TAGGED_GTID = 33, 39, 40, 42
# Events of statements that load a file.
FILES = {6, 8, 9, 10, 11, 12, 17, 18}
INSERTS, UPDATES, DELETES = {23, 30, 166, 169}, {24, 31, 167, 170}, {25, 32, 168, 171}
ROWS = INSERTS | UPDATES | DELETES
COMPRESSED_ROWS = {166, 167, 168, 169, 170, 171}
WITH_EXTRA = {30, 31, 32, 169, 170, 171}
# Seconds after which a server with nothing to tell says where its log is.
HEARTBEAT_SECONDS = 1
DEAD_SECONDS = 30
# What the server says when it does not have the place that it is asked for.
LOST = 1236


@dataclass(frozen=True)
class Event:
    """One event: `start` and `end` are its place in the file."""

    file: str
    start: int
    end: int
    at: int
    type: int
    server: int
    body: bytes

    @property
    def mark(self) -> str:
        """Tells this event from one that another log has in its place."""
        # A file's first event says when the file was begun; the rest of it may change.
        body = b"" if self.type == FORMAT else self.body
        text = f"{self.type} {self.at} {self.server} ".encode() + body
        return hashlib.md5(text, usedforsecurity=False).hexdigest()


class Binlog:
    """The events of a log from a place on, until the connection is closed."""

    def __init__(self, url: SourceUrl, file: str, place: int) -> None:
        self._url = url
        self._connection = connect(url)
        # Far longer than between two heartbeats: a network that was cut ends the connection.
        self._connection._read_timeout = DEAD_SECONDS  # type: ignore[attr-defined]
        self._file, self._place = file, place
        # When the file was begun; and when it was that was read before, where that is known.
        self.begun = self.expected_begun = 0
        # The same of the file that was read first.
        self.first_begun = 0
        self._has_sums = False
        # The newest place that was handed over.
        self.last: tuple[Any, ...] | None = None
        # When the last event came; a heartbeat is none, as it says only that there is no more.
        self.heard_at = time.monotonic()
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(
                    "set @master_binlog_checksum = @@global.binlog_checksum,"
                    " @mariadb_slave_capability = 4,"
                    f" @master_heartbeat_period = {HEARTBEAT_SECONDS * 10**9}"
                )
                # The server gives up on a reader that is busy with a batch.
                cursor.execute("set session net_write_timeout = 28800")
            number = random.randrange(2**31, 2**32 - 1)  # a server has one reader of a number
            command = struct.pack("<BIHI", COMMAND.COM_BINLOG_DUMP, place, 0, number)
            self._connection._write_bytes(  # type: ignore[attr-defined]
                struct.pack("<IB", len(command) + len(file.encode()), 0)[:3]
                + b"\0"
                + command
                + file.encode()
            )
            self._connection._next_seq_id = 1  # type: ignore[attr-defined]
        except pymysql.MySQLError as error:
            self.close()
            raise self._failed(error) from None

    def close(self) -> None:
        """End the connection, also while another thread reads."""
        hang_up(self._connection)
        self._connection._force_close()  # type: ignore[attr-defined]

    def events(self) -> Iterator[Event]:
        """Each event; a heartbeat too, whose `end` is where the log is."""
        connection: Any = self._connection
        while True:
            try:
                data = connection._read_packet().get_all_data()
            except pymysql.MySQLError as error:
                raise self._failed(error) from None
            except (OSError, AttributeError, ValueError):
                raise self._failed(None) from None
            if data[0] == 0xFE:
                raise self._failed(None)
            at, kind, server, _, end, flags = HEADER.unpack_from(data, 1)
            sums = struct.pack("<I", zlib.crc32(data[1:-4])) == data[-4:]
            body = data[1 + HEADER.size : len(data) - 4 if sums else None]
            if kind == FORMAT:
                self._has_sums = sums and body[-1] == 1
            elif self._has_sums and not sums:
                raise LoadError(f"The connection to the log brought a damaged event ({kind}).")
            artificial = bool(flags & 0x20) or end == 0
            if kind == ROTATE:
                self.begun = 0
                (self._place,), self._file = struct.unpack_from("<Q", body), body[8:].decode()
                if artificial:
                    continue
                yield Event(self._file, self._place, self._place, at, kind, server, body)
                continue
            if kind == FORMAT:
                self.begun = at
                self.first_begun = self.first_begun or at
                if self.expected_begun not in (0, at):
                    raise LogLostError("the server has begun its log anew")
                self.expected_begun = 0
                if artificial:
                    continue
            if kind == HEARTBEAT:
                yield Event(self._file, end, end, at, kind, server, b"")
                continue
            self.heard_at = time.monotonic()
            start, self._place = self._place, max(self._place, end)
            yield Event(self._file, start, end, at, kind, server, body)

    def _failed(self, error: pymysql.MySQLError | None) -> LoadError:
        code, said = (*error.args, "", "")[:2] if error is not None else (0, "")
        if code == LOST:
            return LogLostError(f"the server says of its log: {said}")
        if code in (1227, 1045):
            return LogRefusedError(
                f"The server does not let {self._url.user} read its log: {said}."
            )
        lost = f"The connection to the log of {self._url.address} was lost"
        # pymysql says it only in words.
        if error is not None and isinstance(error.__context__, TimeoutError):
            return LogSilentError(f"{lost}: nothing was heard for {DEAD_SECONDS:g} s.")
        return LoadError(f"{lost}.")


def query_of(event: Event) -> tuple[str, str]:
    """The database and the text of a statement."""
    body = event.body
    length, status = body[8], struct.unpack_from("<H", body, 11)[0]
    start = 13 + status
    text = body[start + length + 1 :]
    if event.type == QUERY_COMPRESSED:
        text = inflated(text)
    return body[start : start + length].decode(errors="replace"), text.decode(errors="replace")


def inflated(data: bytes) -> bytes:
    """What the server compressed: one byte about the length, the length, then zlib."""
    return zlib.decompress(data[1 + (data[0] & 7) :])
