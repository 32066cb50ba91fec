"""The server of the live page: whom it answers, with what, and how it ends."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from pages.live import LivePage, LivePageError
from pages.live.server import CONNECTIONS, STREAMS, without_password
from support.live_state import FIGURES, order, state, with_figures

STATUS = {"running": True, "lag_seconds": 0.4, "bytes_behind": 12}


@pytest.fixture
def said() -> list[str]:
    """What the person who runs the watch was told."""
    return []


@pytest.fixture
def live(said: list[str]) -> Iterator[LivePage]:
    with LivePage(port=0, say=said.append, status=lambda: STATUS, heartbeat=1) as live:
        live.show(state())
        yield live


def port_of(live: LivePage) -> int:
    return int(live.address.rstrip("/").rpartition(":")[2])


def ask(
    live: LivePage, path: str = "/", method: str = "GET", **headers: str
) -> tuple[int, http.client.HTTPMessage, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(live), timeout=10)
    with closing(connection):
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()


class Reader:
    """One that reads events."""

    def __init__(self, live: LivePage, seen: str = "", last: str = "") -> None:
        self.connection = socket.create_connection(("127.0.0.1", port_of(live)), timeout=10)
        more = f"Last-Event-ID: {last}\r\n" if last else ""
        self.connection.sendall(
            f"GET /events?seen={seen} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode()
        )
        self.lines = self.connection.makefile("r", encoding="utf-8", newline="\n")
        self.head = list(iter(lambda: self.lines.readline().strip(), ""))

    def next(self) -> dict[str, str]:
        """The fields of the next event."""
        fields = {}
        while line := self.lines.readline().strip("\n"):
            name, _, value = line.partition(":")
            fields[name] = value.lstrip(" ")
        return fields

    def news(self) -> tuple[str, dict[str, Any]]:
        """The number of the next event, and what it says."""
        event = self.next()
        return event["id"], json.loads(event["data"])

    def close(self) -> None:
        self.lines.close()
        self.connection.close()


@contextmanager
def reading(live: LivePage, **seen: str) -> Iterator[Reader]:
    reader = Reader(live, **seen)
    try:
        assert reader.next() == {"retry": "2000"}
        yield reader
    finally:
        reader.close()


def until(is_so: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


# -- what it answers ------------------------------------------------------------------------------


def test_four_addresses(live: LivePage) -> None:
    code, headers, body = ask(live)
    assert code == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    assert "3,000.35" in body
    code, headers, body = ask(live, "/state")
    assert code == 200 and headers["Content-Type"] == "application/json; charset=utf-8"
    assert json.loads(body)["figures"] == FIGURES
    code, _, body = ask(live, "/status")
    assert (code, json.loads(body)) == (200, STATUS)
    for path in ("/other", "/live.js", "/../README.md", "//etc/passwd", "/events/"):
        assert ask(live, path)[0] == 404, path


def test_nobody_else_may_embed_or_read_it(live: LivePage) -> None:
    for path in ("/", "/state", "/status"):
        _, headers, _ = ask(live, path, Origin="http://shop.example")
        assert not [name for name in headers if name.lower().startswith("access-control")]
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cache-Control"] == "no-store"
        assert "Python" not in str(headers)
    policy = ask(live)[1]["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and "unsafe-inline'; script" in policy


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
def test_only_get(live: LivePage, method: str) -> None:
    code, headers, _ = ask(live, "/state", method)
    assert (code, headers["Allow"]) == (405, "GET")


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("LOCALHOST", 200),
        ("[::1]:{port}", 200),
        ("192.0.2.7:9000", 200),  # through a tunnel
        ("shop.example", 421),
        ("shop.example:{port}", 421),
        ("127.0.0.1.shop.example", 421),
        ("localhost.shop.example:{port}", 421),
        ("user@shop.example", 421),
        ("", 421),
        ("[::1", 421),
    ],
)
def test_names_that_lead_here_by_a_trick_are_refused(live: LivePage, host: str, code: int) -> None:
    for path in ("/", "/state", "/status", "/events"):
        if code == 200 and path == "/events":
            continue
        found, _, body = ask(live, path, Host=host.format(port=port_of(live)))
        assert found == code
        assert ("3,000.35" in body or "3000.35" in body) == (code == 200 and path != "/status")


def test_host_header_is_needed_once(live: LivePage) -> None:
    for head in ("", "Host: localhost\r\nHost: shop.example\r\n"):
        with socket.create_connection(("127.0.0.1", port_of(live)), timeout=10) as raw:
            raw.sendall(f"GET /state HTTP/1.1\r\n{head}\r\n".encode())
            assert raw.recv(100).startswith(b"HTTP/1.1 421 ")


def test_this_machine_only_unless_told(said: list[str]) -> None:
    with LivePage(port=0, say=said.append) as live:
        assert said == [f"The live page is at http://127.0.0.1:{port_of(live)}/"]
        # No other address of this machine answers, such as another one of its own network.
        with pytest.raises(OSError), socket.create_connection(("127.0.0.2", port_of(live)), 5):
            pass
    said.clear()
    with LivePage("", 0, said.append) as live:
        assert said[1].startswith("Everybody ")
        assert ask(live, Host="")[0] == 421
    said.clear()
    with LivePage("0.0.0.0", 0, said.append) as live:
        port = port_of(live)
        assert said == [
            f"The live page is at http://localhost:{port}/",
            f"Everybody who can reach 0.0.0.0:{port} can read it, without a password.",
        ]
        with socket.create_connection(("127.0.0.2", port), 5):
            pass


def test_address_of_the_newer_protocol(said: list[str]) -> None:
    try:
        live = LivePage("::1", 0, said.append)
        live.start()
    except LivePageError as error:
        pytest.skip(str(error))  # not every machine has it
    try:
        assert said == [f"The live page is at http://[::1]:{port_of(live)}/"]
        with socket.create_connection(("::1", port_of(live)), timeout=10) as raw:
            raw.sendall(f"GET / HTTP/1.1\r\nHost: [::1]:{port_of(live)}\r\n\r\n".encode())
            assert raw.recv(100).startswith(b"HTTP/1.1 200 ")
    finally:
        live.close()


def test_address_that_cannot_be_used_is_one_sentence(live: LivePage) -> None:
    port = port_of(live)
    for host, taken in (("127.0.0.1", port), ("127.0.0.1", 70_000), ("192.0.2.1", 0)):
        with pytest.raises(LivePageError, match=rf"cannot be served at {host}:{taken} \(.+\): "):
            LivePage(host, taken, print).start()


# -- events ---------------------------------------------------------------------------------------


def test_reader_gets_the_state_and_then_what_changed(live: LivePage) -> None:
    with reading(live) as reader:
        assert "Content-Type: text/event-stream; charset=utf-8" in reader.head
        first, news = reader.news()
        assert {"facts", "cards", "hours-chart", "orders-table"} <= set(news["parts"])
        assert news["say"] == "Revenue today 3,000.35 USD, 4 orders."
        assert abs(news["clock"] - time.time() * 1000) < 5000
        live.show(with_figures(orders=[order(10431), *FIGURES["orders"]]))
        second, news = reader.news()
        assert second != first
        assert set(news["parts"]) == {"orders-lede", "orders-table"}
        assert "10431" in news["parts"]["orders-table"]
        # The same state once more is no news, but a sign that somebody is here.
        live.show(with_figures(orders=[order(10431), *FIGURES["orders"]]))
        assert reader.news()[1]["parts"] == {}


def test_news_do_not_wait_for_the_heartbeat() -> None:
    with LivePage(port=0, say=lambda _: None) as live, reading(live) as reader:
        reader.news()
        for revenue in ("4000.00", "5000.00"):
            began = time.monotonic()
            live.show(with_figures(today={**FIGURES["today"], "revenue": revenue}))
            assert f"{revenue[0]},000.00" in reader.news()[1]["parts"]["cards"]
            assert time.monotonic() - began < 5  # a heartbeat comes after fifteen


def test_reader_that_comes_back_gets_what_it_has_not_seen(live: LivePage) -> None:
    with reading(live) as reader:
        first, _ = reader.news()
    for seen in ({"seen": first}, {"last": first}, {"seen": "old", "last": first}):
        with reading(live, **seen) as reader:
            assert set(reader.news()[1]["parts"]) <= {"facts"}, seen
    live.show(with_figures(lines=[]))
    for seen in ({"seen": first}, {"last": first}, {"last": "of-another-process-1"}):
        with reading(live, **seen) as reader:
            assert {"cards", "lines-chart"} <= set(reader.news()[1]["parts"])


def test_heartbeat_has_the_lag(live: LivePage, monkeypatch: pytest.MonkeyPatch) -> None:
    with reading(live) as reader:
        _, news = reader.news()
        assert "0.4 s, 12 bytes of the log" in news["parts"]["facts"]
        began = time.monotonic()
        assert reader.news()[1]["parts"] == {}
        assert 0.5 < time.monotonic() - began < 3  # a second, here
        monkeypatch.setitem(STATUS, "lag_seconds", 75.25)
        parts = reader.news()[1]["parts"]
        assert set(parts) == {"facts"} and 'class="late">75.2 s' in parts["facts"]


def test_slow_reader_holds_up_nobody_and_gets_the_newest(live: LivePage) -> None:
    with reading(live) as slow, reading(live) as reader:
        reader.news()
        began = time.monotonic()
        for number in range(300):
            live.show(with_figures(orders=[order(20000 + number)]))
        assert time.monotonic() - began < 2
        last = ""
        while "20299" not in last:
            last = reader.news()[1]["parts"].get("orders-table", "")
        # It reads only now, and not all that was: no queue grew.
        events = 0
        last = ""
        while "20299" not in last:
            last = slow.news()[1]["parts"].get("orders-table", "")
            events += 1
        assert events < 50


def test_many_readers_and_no_more(live: LivePage) -> None:
    readers = [Reader(live) for _ in range(STREAMS)]
    try:
        code, headers, _ = ask(live, "/events")
        assert (code, headers["Retry-After"]) == (503, "15")
        assert ask(live)[0] == 200
        # Connections that say nothing.
        silent = [
            socket.create_connection(("127.0.0.1", port_of(live)), timeout=10)
            for _ in range(CONNECTIONS - STREAMS)
        ]
        until(lambda: _is_refused(live))
        for connection in silent:
            connection.close()
        until(lambda: not _is_refused(live))
        readers.pop().close()
        # The place is free when the next heartbeat finds nobody there.
        until(lambda: Reader(live).head[0] == "HTTP/1.1 200 OK")
    finally:
        for reader in readers:
            reader.close()


def _is_refused(live: LivePage) -> bool:
    try:
        return ask(live)[0] != 200
    except (OSError, http.client.HTTPException):
        return True


# -- what it shows, and how it ends ---------------------------------------------------------------


def test_end_is_quick_and_is_told(said: list[str]) -> None:
    live = LivePage(port=0, say=said.append)
    live.start()
    live.show(state())
    with (
        reading(live) as reader,
        reading(live),
        socket.create_connection(("127.0.0.1", port_of(live)), timeout=10),
    ):
        reader.news()
        began = time.monotonic()
        live.close()
        assert time.monotonic() - began < 1.5
        assert reader.next() == {"event": "stopped", "data": ""}
        assert reader.lines.read() == ""
    with pytest.raises(OSError):
        ask(live)
    again = LivePage(port=port_of(live), say=said.append)
    again.start()
    again.close()
    LivePage(port=0, say=said.append).close()  # never begun


def test_no_password_and_no_more_figures_than_there_are(live: LivePage) -> None:
    for path in ("/", "/state"):
        assert "secret" not in ask(live, path)[2]
    assert (
        json.loads(ask(live, "/state")[2])["source"] == "mysql://watcher@shop.example/classicmodels"
    )
    # With an error the figures stay, and one reads of when they are.
    live.show({"error": "The disk is full.", "built_at": state()["built_at"]})
    body = ask(live)[2]
    assert "3,000.35" in body and "The disk is full." in body and "Not updated since" in body


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("mysql://a:b@h/d", "mysql://a@h/d"),
        ("mysql://a:p@ss@h/d", "mysql://a@h/d"),
        ("postgresql://h/d", "postgresql://h/d"),
        ("duckdb: warehouse.duckdb", "duckdb: warehouse.duckdb"),
        (None, None),
    ],
)
def test_without_password(given: str | None, shown: str | None) -> None:
    assert without_password(given) == shown


def test_state_that_cannot_be_shown_is_said_once(live: LivePage, said: list[str]) -> None:
    with pytest.raises(TypeError):
        live.show({"figures": {1, 2}})
    live.show({"figures": {"day": "2026-11-20"}})
    for _ in range(2):
        with pytest.raises((OSError, http.client.HTTPException)):
            ask(live)
    until(lambda: len(said) > 1)
    assert said[1:] == ["The live page cannot be shown (KeyError: 'yesterday')."]
    live.show(state())
    assert ask(live)[0] == 200


def test_status_that_cannot_be_had_is_none() -> None:
    def broken() -> dict[str, Any]:
        raise RuntimeError

    for status in (None, broken, lambda: None):
        with LivePage(port=0, say=lambda _: None, status=status) as live:
            assert ask(live, "/status")[0] == 404
            assert ask(live)[0] == 200
