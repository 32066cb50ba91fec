"""A replication slot of PostgreSQL, read in a thread."""

import contextlib
import select
import socket
import struct
import time
from collections.abc import Callable

import psycopg
from psycopg.pq import ExecStatus

from ..dialects.postgres import said
from ..errors import LoadError
from ..urls import SourceUrl
from . import pgoutput
from .changes import Channel, Heard, LogLostError, LogSilentError
from .pgoutput import Change, Relation

# Seconds between two words to the server, which else takes the reader for dead.
WORD_EVERY = 5.0
# Seconds without an answer after which the connection is dead.
DEAD = 30.0
# Seconds to wait for a message before looking at what was asked for.
TURN = 0.5
# Bytes of a page of the log, and the most that its header has.
PAGE, HEADER = 8192, 40
Row = Callable[[Heard, Relation, Change], None]
Emptied = Callable[[Heard, Relation], None]


class Stream:
    """`row` and `emptied` are told of changes, in this thread; `silent` is, if nothing comes."""

    def __init__(
        self,
        url: SourceUrl,
        connection: psycopg.Connection,
        channel: Channel,
        identity: tuple[str, ...],
        *,
        row: Row,
        emptied: Emptied,
        silent: Callable[[], None],
    ) -> None:
        self._url, self._pgconn, self._channel = url, connection.pgconn, channel
        self._connection, self._identity = connection, identity
        self._row, self._emptied, self._silent = row, emptied, silent
        self._relations: dict[int, Relation] = {}
        # Where the log was read; what of it is in the warehouse.
        self.read = self.confirmed = 0
        self.heard_at = time.monotonic()
        self._waker, self._woken = socket.socketpair()
        # A thread that waits for the channel reads no wakes: who wakes must not wait for it.
        self._waker.setblocking(False)
        self._asks, self._stopped = False, False

    def begin(self, slot: str, publication: str, place: int) -> None:
        """Raises LoadError, and LogLostError where the slot cannot be read from there."""
        self.confirmed = self.read = place
        command = (
            f'START_REPLICATION SLOT "{slot}" LOGICAL {shown(place)}'
            f" (proto_version '1', publication_names '\"{publication}\"')"
        )
        result = self._pgconn.exec_(command.encode())
        if result.status != ExecStatus.COPY_BOTH:
            error = psycopg.errors.error_from_result(result, encoding="utf-8")
            text = said(error)
            if error.sqlstate in ("42704", "55000", "58P01") and "active" not in text:
                raise LogLostError(f"the server says of the slot: {text}")
            raise LoadError(f"The slot {slot} of {self._url.address} cannot be read: {text}.")

    def ask(self) -> None:
        """Let the server say how far it has read its log."""
        self._asks = True
        self._wake()

    def confirm(self, place: int) -> None:
        """The server need not keep its log up to here."""
        self.confirmed = max(self.confirmed, place)
        self._wake()

    def close(self) -> None:
        """End the thread, which ends the connection."""
        self._stopped = True
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._waker.send(b"w")

    def run(self) -> None:
        """Read until the stream ends, and hand over why it did."""
        try:
            self._read()
        except LogSilentError as error:
            self._channel.put(error)
            self._silent()
        except (psycopg.Error, OSError) as error:
            text = " ".join(str(error).split()) or "it was closed"
            if "publication" in text and "does not exist" in text:
                self._channel.put(LogLostError("the publication of the watch is gone"))
                return
            self._channel.put(
                LoadError(f"The connection to the log of {self._url.address} was lost: {text}.")
            )
        except Exception as error:
            # Whatever it was, the main thread must not wait for ever. Its words may be data.
            text = f"The log of {self._url.address} cannot be read: {type(error).__name__}."
            self._channel.put(LoadError(text))
        finally:
            self._connection.close()
            self._waker.close()
            self._woken.close()

    def _read(self) -> None:
        heard, inside, next_word = Heard(), False, 0.0
        self.heard_at = time.monotonic()
        while not self._stopped:
            now = time.monotonic()
            if now - self.heard_at > DEAD:
                raise LogSilentError(
                    f"The connection to the log of {self._url.address} was lost: nothing was heard"
                    f" for {DEAD:g} s."
                )
            if self._asks or now > next_word:
                self._asks |= now - self.heard_at > WORD_EVERY
                self._say()
                next_word = now + WORD_EVERY
            size, data = self._pgconn.get_copy_data(1)
            if size == 0:
                ready, _, _ = select.select([self._pgconn.socket, self._woken], [], [], TURN)
                if self._woken in ready:
                    self._woken.recv(4096)
                    next_word = 0.0
                if self._pgconn.socket in ready:
                    self._pgconn.consume_input()
                continue
            if size < 0:
                result = self._pgconn.get_result()
                said_ = result.error_message.decode().strip() if result else ""
                raise psycopg.OperationalError(said_ or "the server ended it")
            message, self.heard_at = bytes(data), now
            if message[:1] == b"k":
                end, _, wants = struct.unpack_from(">QQB", message, 1)
                if wants:
                    next_word = 0.0
                if not inside and end > self.read:
                    self.read = end
                if not inside and not self._hand_over(Heard(), self.read):
                    return
            elif message[:1] == b"w":
                body = message[25:]
                kind = body[:1]
                if kind == b"B":
                    inside, heard = True, Heard()
                    heard.at, heard.xid = pgoutput.begun(body)
                elif kind == b"C":
                    inside = False
                    self.read = max(self.read, pgoutput.end_of(body))
                    if not self._hand_over(heard, self.read):
                        return
                else:
                    self._message(kind, body, heard)

    def _message(self, kind: bytes, body: bytes, heard: Heard) -> None:
        if kind == b"R":
            number, relation = pgoutput.relation_of(body)
            self._relations[number] = relation
        elif kind in (b"I", b"U", b"D"):
            change = pgoutput.change_of(body)
            self._row(heard, self._relations[change.relation], change)
        elif kind == b"T":
            for number in pgoutput.truncated(body):
                self._emptied(heard, self._relations[number])

    def _hand_over(self, heard: Heard, place: int) -> bool:
        heard.place = (place, *self._identity)
        # The server ends a connection from which it hears nothing.
        goes_on = self._channel.put(heard, self._say)
        # While it waited nothing was read: what the server said meanwhile comes now.
        self.heard_at = time.monotonic()
        return goes_on

    def _say(self) -> None:
        """What is in the warehouse; and ask, where somebody waits for it."""
        now = int((time.time() - pgoutput.EPOCH) * 1e6)
        place = self.confirmed
        word = struct.pack(">cQQQQB", b"r", max(place, self.read), place, place, now, self._asks)
        self._asks = False
        self._pgconn.put_copy_data(word)
        self._pgconn.flush()


def shown(place: int) -> str:
    """A place as PostgreSQL writes it."""
    return f"{place >> 32:X}/{place & 0xFFFFFFFF:X}"


def place_of_text(text: str) -> int:
    """The same as a number."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def end_of_records(place: int) -> int:
    """Where the records end before a place: the next one begins behind the header of its page."""
    return place - place % PAGE if place % PAGE <= HEADER else place
