"""A network between two programs, which a test cuts and mends."""

from __future__ import annotations

import contextlib
import ctypes
import select
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

HOST = "127.0.0.1"
# Linux: a filter of one instruction that lets no packet through to a socket, not even an
# acknowledgement, and so does what a cable does that is pulled.
SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
_NOTHING = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
_FILTER = struct.pack("HP", 1, ctypes.addressof(_NOTHING))
TURN = 0.02
BOTH = ("there", "back")


class Network:
    """Forwards connections to a port, as long as it is told to."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        # What is not forwarded now; whether packets vanish.
        self._silent, self._vanishes = set[str](), False
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._guard, self._ended = threading.Lock(), False

    def _accept(self) -> None:
        while not self._ended:
            ready, _, _ = select.select([self._listener], [], [], TURN)
            if not ready or self._vanishes:
                continue
            client, _ = self._listener.accept()
            try:
                pair = (client, socket.create_connection((HOST, self._to), 5))
            except OSError:
                client.close()
                continue
            with self._guard:
                self._pairs.append(pair)
            for way, source, target in (("there", *pair), ("back", *reversed(pair))):
                arguments = (way, source, target, pair)
                threading.Thread(target=self._forward, args=arguments, daemon=True).start()

    def _forward(self, way: str, source: Any, target: Any, pair: Any) -> None:
        with contextlib.suppress(OSError, ValueError):
            while not self._ended:
                # What was read is sent, so the question comes first.
                if way in self._silent:
                    threading.Event().wait(TURN)
                    continue
                ready, _, _ = select.select([source], [], [], TURN)
                if not ready or way in self._silent:
                    continue
                if not (data := source.recv(65536)):
                    break
                target.sendall(data)
        self._end(pair)

    def _end(self, pair: tuple[socket.socket, socket.socket], *, reset: bool = False) -> None:
        for one in pair:
            with contextlib.suppress(OSError):
                if reset:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                else:
                    one.shutdown(socket.SHUT_RDWR)
            one.close()

    def lead_to(self, port: int) -> None:
        """Forward new connections to another port."""
        self._to = port

    def reset(self) -> None:
        """All connections end with a reset; new ones are possible at once."""
        with self._guard:
            for pair in self._pairs:
                self._end(pair, reset=True)
            self._pairs.clear()

    def mute(self, *ways: str) -> None:
        """Nothing is forwarded any more, though it is taken; `there`, `back`, or both."""
        self._silent = set(ways or BOTH)

    def vanish(self) -> None:
        """Every packet is lost, of old connections and of new ones."""
        self._silent, self._vanishes = set(BOTH), True
        self._filter(SO_ATTACH_FILTER, _FILTER)

    def heal(self) -> None:
        """Everything goes on; what was sent meanwhile comes now."""
        if self._vanishes:
            self._filter(SO_DETACH_FILTER, struct.pack("i", 0))
        self._silent, self._vanishes = set(), False

    def _filter(self, option: int, value: bytes) -> None:
        with self._guard:
            for one in (self._listener, *(one for pair in self._pairs for one in pair)):
                with contextlib.suppress(OSError):  # it was closed
                    one.setsockopt(socket.SOL_SOCKET, option, value)


@contextlib.contextmanager
def network(port: int) -> Iterator[Network]:
    """A network to a port of this machine, until the end of the block."""
    between = Network(port)
    thread = threading.Thread(target=between._accept, daemon=True)
    thread.start()
    try:
        yield between
    finally:
        between._ended = True
        thread.join()
        between._listener.close()
        between.reset()
