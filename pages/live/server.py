"""A small web server for the live page: for this machine only, unless it is told otherwise.

It has four addresses: the page, its events (server-sent events), the state as JSON, and the watch's
status as JSON. It reads nothing from disk for a reader, and changes nothing.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pages.live.page import headers, page_of
from pages.live.parts import announcement, parts_of, watch_parts

Status = Callable[[], Mapping[str, Any] | None]

HEARTBEAT = 15.0  # seconds
CONNECTIONS = 64  # open at once
STREAMS = 48  # of them; the others answer and close
PATIENCE = 10.0  # seconds for a request to come, and for a reader to take what is sent
BETWEEN = 0.2  # seconds between two events to one reader
IS_READ = 30.0  # seconds for which a page that was asked for counts as being read
AGAIN = 2000  # milliseconds until a browser that lost its connection tries again


class LivePageError(RuntimeError):
    """The page cannot be served; the text says why and what to do."""


class LivePage:
    """The page of one watch. `show` may be called from any thread, at any time after `start`.

    `say` gets sentences for the person who runs the watch. `status` gives the watch's own status,
    the same as `watch status --json`; it is asked at each heartbeat and for /status.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 8090,
        say: Callable[[str], None] = print,
        status: Status | None = None,
        heartbeat: float = HEARTBEAT,
    ) -> None:
        self._host, self._port, self._say = host, port, say
        self._status = status
        self.heartbeat = heartbeat
        self.names = {host.lower(), "localhost", socket.gethostname().lower()} - {""}
        self.news = threading.Condition()
        self.is_closing = False
        # When somebody asked for the page or its state last, by time.monotonic().
        self.asked_at = -IS_READ
        # Tells states of this process from those of the one before it.
        self._start = secrets.token_hex(4)
        self._number = 0
        self._state: dict[str, Any] = {}
        self._parts: tuple[int, dict[str, str]] | None = None
        self._writing = threading.Lock()
        self._failures: set[str] = set()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def ask_status(self, status: Status) -> None:
        """Ask for the watch's status there."""
        self._status = status

    # -- for the watch ---------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to serve, with a page that says that there are no figures yet.

        Raises LivePageError where the address cannot be used.
        """
        try:
            self._server = _Server((self._host, self._port), self)
        except (OSError, OverflowError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise LivePageError(
                f"The live page cannot be served at {self._host}:{self._port} ({why}): choose"
                " another port or address."
            ) from None
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.2},
            name="live page",
            daemon=True,
        )
        self._thread.start()
        self._say(f"The live page is at {self.address}")
        if not _is_loopback(self._host):
            self._say(
                f"Everybody who can reach {self._host}:{self._port} can read it, without a"
                " password."
            )

    @property
    def is_read(self) -> bool:
        """Whether somebody reads it: a browser follows its events, or it was asked for just now."""
        follows = self._server is not None and self._server.followers > 0
        return follows or time.monotonic() - self.asked_at < IS_READ

    @property
    def address(self) -> str:
        """The address for a browser."""
        host = "localhost" if _is_any(self._host) else self._host
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}/"

    def show(self, state: Mapping[str, Any]) -> None:
        """Show a state. It must be a JSON document; without figures, the last ones stay."""
        new = json.loads(json.dumps(state))
        for name in ("source", "warehouse"):
            new[name] = without_password(new.get(name))
        with self.news:
            if new.get("figures") is None:
                new["figures"] = self._state.get("figures")
            self._state = new
            self._number += 1
            self.news.notify_all()

    def close(self) -> None:
        """End: readers are told that the watch was stopped. Takes less than a second."""
        with self.news:
            self.is_closing = True
            self.news.notify_all()
        if self._server and self._thread:
            self._server.shutdown()
            self._thread.join(1)
            self._server.end_all(0.5)
            self._server.server_close()

    def __enter__(self) -> LivePage:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def failed(self, error: BaseException | None) -> None:
        """Say what keeps the page from being shown; the same thing once."""
        said = f"The live page cannot be shown ({type(error).__name__}: {error})."
        with self.news:
            if said in self._failures:
                return
            self._failures.add(said)
        self._say(said)

    # -- for the requests ------------------------------------------------------------------------

    @property
    def state(self) -> dict[str, Any]:
        """The last state."""
        with self.news:
            return self._state

    def status(self) -> Mapping[str, Any] | None:
        """The watch's status; None where it cannot be had."""
        if self._status is None:
            return None
        try:
            return self._status()
        except Exception:  # the watch says what is wrong with it elsewhere
            return None

    def parts(self) -> tuple[str, dict[str, str], str]:
        """The number of the state, its parts, and what to say aloud.

        They are written when somebody reads them, once for all readers.
        """
        with self._writing:  # `show` need not wait for it
            with self.news:
                number, state = self._number, self._state
            if self._parts is None or self._parts[0] != number:
                self._parts = (number, parts_of(state))
            return f"{self._start}-{number}", self._parts[1], announcement(state)

    def page(self) -> str:
        """The whole page."""
        seen, parts, announced = self.parts()
        every = {**parts, **watch_parts(self.state, self.status())}
        return page_of(self.state, every, seen=seen, clock=_clock(), announced=announced)

    def wait(self, seen: str, seconds: float) -> bool:
        """Wait for another state than the one that was seen; whether there is one."""
        with self.news:
            return self.news.wait_for(
                lambda: self.is_closing or f"{self._start}-{self._number}" != seen, seconds
            )

    def rest(self, seconds: float) -> None:
        """Wait, but not beyond the end."""
        with self.news:
            self.news.wait_for(lambda: self.is_closing, seconds)


class _Server(ThreadingHTTPServer):
    """Takes a limited number of connections, each in a thread."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 32

    def __init__(self, address: tuple[str, int], live: LivePage) -> None:
        self.live = live
        self.streams = threading.BoundedSemaphore(STREAMS)
        self.followers = 0
        self._open: set[socket.socket] = set()
        self.guard = threading.Lock()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # Without the base class's look-up of the host's name, which can take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def verify_request(self, request: Any, client_address: Any) -> bool:
        with self.guard:
            if len(self._open) >= CONNECTIONS:
                return False
            self._open.add(request)
            return True

    def shutdown_request(self, request: Any) -> None:
        with self.guard:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if not isinstance(error, OSError):  # a reader that leaves, or is slow
            self.live.failed(error)

    def end_all(self, seconds: float) -> None:
        """Give connections a moment to end by themselves, then cut them."""
        until = time.monotonic() + seconds
        while self._open and time.monotonic() < until:
            time.sleep(0.01)
        with self.guard:
            for request in self._open:
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """One request, after which the connection ends."""

    server: _Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "live", ""
    timeout = PATIENCE

    def do_GET(self) -> None:
        if not self._is_meant():
            self._answer(
                HTTPStatus.MISDIRECTED_REQUEST,
                "text/plain",
                "This server is not the host that the address names. Ask by its IP address.\n",
            )
            return
        live, path = self.server.live, urlsplit(self.path).path
        if path in ("/", "/events", "/state"):
            live.asked_at = time.monotonic()
        if path == "/":
            self._answer(HTTPStatus.OK, "text/html", live.page(), headers())
        elif path == "/events":
            self._stream()
        elif path == "/state":
            self._answer_json(live.state)
        elif path == "/status":
            status = live.status()
            if status is None:
                self._answer(HTTPStatus.NOT_FOUND, "text/plain", "There is no status yet.\n")
            else:
                self._answer_json(status)
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", "There is no such page.\n")

    def do_POST(self) -> None:
        self._answer(HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", "Only GET.\n", {"Allow": "GET"})

    do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_HEAD = do_POST  # noqa: N815

    def _is_meant(self) -> bool:
        """Whether the request names this server, and not a name that leads here by a trick.

        A page of another site can let its own name lead to this machine ("DNS rebinding"). An
        address in figures cannot lie, whatever the port: it may come through a tunnel.
        """
        given = self.headers.get_all("Host") or []
        if len(given) != 1:
            return False
        try:
            host = urlsplit(f"//{given[0]}").hostname or ""
        except ValueError:
            return False
        if host in self.server.live.names:
            return True
        try:
            ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        return True

    def _answer_json(self, document: Any) -> None:
        self._answer(HTTPStatus.OK, "application/json", json.dumps(document, indent=1) + "\n")

    def _answer(
        self, code: HTTPStatus, kind: str, body: str, more: Mapping[str, str] | None = None
    ) -> None:
        sent = body.encode()
        self._head(code, kind, {"Content-Length": str(len(sent)), **(more or {})})
        if self.command != "HEAD":
            self.wfile.write(sent)

    def _head(self, code: HTTPStatus, kind: str, more: Mapping[str, str]) -> None:
        self.close_connection = True
        self.send_response(code)
        for name, value in {
            "Content-Type": f"{kind}; charset=utf-8",
            "Cache-Control": "no-store",
            "Connection": "close",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            **more,
        }.items():
            self.send_header(name, value)
        self.end_headers()

    def _stream(self) -> None:
        """Send each new state, and a word when there is none for a while, until the end."""
        if not self.server.streams.acquire(blocking=False):
            self._answer(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "text/plain",
                "Too many readers.\n",
                {"Retry-After": "15"},
            )
            return
        with self.server.guard:
            self.server.followers += 1
        try:
            self._head(HTTPStatus.OK, "text/event-stream", {})
            self._send(f"retry: {AGAIN}\n\n")
            self._follow(self.server.live)
        finally:
            with self.server.guard:
                self.server.followers -= 1
            self.server.streams.release()

    def _follow(self, live: LivePage) -> None:
        asked = parse_qs(urlsplit(self.path).query).get("seen", [""])[0]
        seen = self.headers.get("Last-Event-ID") or asked
        sent: dict[str, str] = {}
        if (now := live.parts())[0] == seen:
            sent = dict(now[1])
        while not live.is_closing:
            number, parts, announced = live.parts()
            every = {**parts, **watch_parts(live.state, live.status())}
            news = {name: html for name, html in every.items() if sent.get(name) != html}
            # Also without news: the reader hears that somebody is here, and what time it is.
            document = {"clock": _clock(), "parts": news, "say": announced}
            self._send(f"id: {number}\ndata: {json.dumps(document)}\n\n")
            sent |= news
            live.rest(BETWEEN)
            live.wait(number, live.heartbeat)
        self._send("event: stopped\ndata:\n\n")

    def _send(self, text: str) -> None:
        self.wfile.write(text.encode())
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        pass


def without_password(address: str | None) -> str | None:
    """A URL without the password in it; any other text as it is."""
    if not address or "://" not in address:
        return address
    scheme, _, rest = address.partition("://")
    login, at, place = rest.rpartition("@")
    return f"{scheme}://{login.partition(':')[0]}{at}{place}"


def _clock() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_any(host: str) -> bool:
    """Whether the server listens at all addresses of the machine."""
    return host in ("", "0.0.0.0", "::")
