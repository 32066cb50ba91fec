"""Alerts reach real servers and commands, whatever is in them; a dead channel is named in time."""

from __future__ import annotations

import contextlib
import email
import email.policy
import json
import socketserver
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from loader.errors import UsageError
from pipeline.alert_channel import without_markup
from pipeline.alerts import Alerts, Channel, Message, alerts_of, send

PASSWORD = "p@ss/word:of#mail"
HOSTILE = (
    "Ann\r\nBcc: thief@example.com\r\nSubject: free\r\n\r\n<script>alert(1)</script> @everyone"
    " [click](http://evil.example) \u202egnp.exe\x1b[31m"
)


class Mailbox(socketserver.ThreadingTCPServer):
    """A small SMTP server that keeps what it gets."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), SMTP)
        self.mails: list[tuple[list[str], bytes]] = []


class SMTP(socketserver.StreamRequestHandler):
    server: Mailbox

    def handle(self) -> None:
        self.say("220 mailbox")
        to: list[str] = []
        for line in self.rfile:
            word = line.strip().upper()
            if word.startswith((b"EHLO", b"HELO")):
                self.say("250-mailbox\r\n250 AUTH PLAIN LOGIN")
            elif word.startswith(b"AUTH"):
                self.say("235 welcome")
            elif word.startswith(b"RCPT"):
                to.append(line.decode().strip())
                self.say("250 ok")
            elif word == b"DATA":
                self.say("354 go on")
                self.server.mails.append((to, self.data()))
                self.say("250 ok")
            elif word == b"QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 ok")

    def data(self) -> bytes:
        lines = []
        for line in self.rfile:
            if line.strip() == b"." and line.startswith(b"."):
                break
            lines.append(line[1:] if line.startswith(b"..") else line)
        return b"".join(lines)

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


class Hook(BaseHTTPRequestHandler):
    """A webhook; /slow answers drop by drop, so that no timeout of a socket ends it."""

    got: list[tuple[str, dict[str, Any]]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.startswith("/slow"):
            with contextlib.suppress(OSError):
                for _ in range(300):
                    self.wfile.write(b"H")
                    time.sleep(0.1)
            return
        type(self).got.append((self.path, json.loads(body)))
        self.send_response(500 if self.path.startswith("/broken") else 200)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        return


@contextlib.contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def hook() -> Iterator[int]:
    Hook.got = []
    server = HTTPServer(("127.0.0.1", 0), Hook)
    server.__class__ = type("Threaded", (socketserver.ThreadingMixIn, HTTPServer), {})
    server.daemon_threads = True  # type: ignore[attr-defined]
    with serving(server) as port:
        yield port


def channels(*given: dict[str, Any], **environment: str) -> list[Channel]:
    return list(alerts_of({"channels": list(given)}, environment).channels)


def told(found: list[Channel], title: str = "a title", *lines: str) -> list[str]:
    message = Message(title, lines or ("a line",), {"event": "failed"})
    return list(send([(channel, message) for channel in found]).values())


def test_a_hostile_row_in_a_mail_is_text() -> None:
    mailbox = Mailbox()
    with serving(mailbox) as port:
        url = f"mailto://shop:${{SMTP}}@127.0.0.1:{port}?from=a@shop.example&to=ops@shop.example"
        assert told(channels({"url": url}, SMTP=PASSWORD), f"failed: {HOSTILE}", HOSTILE) == [""]
    ((to, data),) = mailbox.mails
    assert len(to) == 1 and "ops@shop.example" in to[0]
    mail = email.message_from_bytes(data, policy=email.policy.default)
    assert mail["Bcc"] is None and len(mail.get_all("Subject", [])) == 1
    assert mail["Subject"].startswith("failed: Ann")
    body = mail.get_body(("plain",))
    assert body is not None
    text = body.get_content()
    assert "Ann" in text and "Bcc: thief@example.com" in text  # as words of one line
    assert not {"\u202e", "\x1b", "\r"} & set(text.rstrip("\r\n").replace("\r\n", "\n"))
    html = mail.get_body(("html",))
    assert html is None or "<script>" not in html.get_content()


def test_chats_see_no_mention_and_no_link() -> None:
    shown = without_markup(HOSTILE)
    for bad in ("@everyone", "<script", "](http", "://"):
        assert bad not in shown
    assert without_markup("orders: 3 rows, 12.50 USD") == "orders: 3 rows, 12.50 USD"


def test_a_chat_gets_text_without_them(hook: int) -> None:
    assert told(channels({"url": f"mmost://127.0.0.1:{hook}/token123"}), HOSTILE, HOSTILE) == [""]
    ((path, got),) = Hook.got
    assert path.endswith("token123") and "Ann" in got["text"]
    for bad in ("@everyone", "<script", "](http", "://"):
        assert bad not in got["text"]


def test_a_command_gets_json_and_no_shell(tmp_path: Path) -> None:
    command = ["sh", "-c", f"cat > {tmp_path / 'got'}"]
    assert told(channels({"command": command}), HOSTILE, "$(touch pwned)", "`id`") == [""]
    got = json.loads((tmp_path / "got").read_text("utf-8"))
    assert got["event"] == "failed" and "\n" not in got["title"]
    assert got["body"].splitlines() == ["$(touch pwned)", "`id`"]


def test_all_channels_at_once_and_the_dead_are_named(hook: int, tmp_path: Path) -> None:
    found = channels(
        {"name": "good", "url": f"json://127.0.0.1:{hook}/good"},
        {"name": "hangs", "url": f"json://127.0.0.1:{hook}/slow"},
        {"name": "refuses", "url": "json://127.0.0.1:9/x"},
        {"name": "broken", "url": f"json://127.0.0.1:{hook}/broken"},
        {"name": "sleeps", "command": ["sh", "-c", "sleep 60 & sleep 60"]},
        {"name": "fails", "command": ["sh", "-c", "echo no disk; exit 3"]},
        {"name": "is not there", "command": ["/no/such/program"]},
    )
    began = time.monotonic()
    outcomes = send([(channel, Message("t", ["b"], {})) for channel in found])
    took = time.monotonic() - began
    assert took < 7, took
    assert [path for path, _ in Hook.got if path == "/good"]
    assert outcomes["good"] == ""
    assert "no answer within 5 s" in outcomes["hangs"]
    assert "no answer within 5 s" in outcomes["sleeps"]
    assert outcomes["refuses"] and outcomes["broken"]
    assert "exit code 3: no disk" in outcomes["fails"]
    assert "cannot be started" in outcomes["is not there"]


def test_a_message_is_in_a_topic_of_sns(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        for name, value in {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
        }.items():
            monkeypatch.setenv(name, value)
        sns = boto3.client("sns", region_name="eu-central-1")
        sqs = boto3.client("sqs", region_name="eu-central-1")
        topic = sns.create_topic(Name="shop")["TopicArn"]
        queue = sqs.create_queue(QueueName="shop")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn["Attributes"]["QueueArn"])
        assert told(channels({"sns": topic}), f"failed: Ä {HOSTILE}", HOSTILE) == [""]
        (got,) = sqs.receive_message(QueueUrl=queue)["Messages"]
        note = json.loads(got["Body"])
        assert note["Subject"].isascii() and "\n" not in note["Subject"]
        assert len(note["Subject"]) <= 100 and "Ann" in note["Message"]
        assert told(channels({"sns": f"{topic}-gone"})) != [""]
    finally:
        server.stop()


def test_no_secret_is_printed(hook: int) -> None:
    url = f"json://shop:${{TOKEN}}@127.0.0.1:{hook}/broken/${{TOKEN}}?:key=${{TOKEN}}"
    (channel,) = channels({"url": url}, TOKEN=PASSWORD)
    echoing = channels({"command": ["sh", "-c", "echo $0; exit 1", "${TOKEN}"]}, TOKEN=PASSWORD)
    for said in (*told([channel]), *told(echoing)):
        assert said and PASSWORD not in said
    assert PASSWORD not in repr(channel) and "%40" not in repr(channel)
    assert channel.label == "channel 1 (json)"
    with pytest.raises(UsageError) as error:
        channels({"url": f"slack://{PASSWORD}/${{GONE}}"})
    assert PASSWORD not in str(error.value) and "GONE" in str(error.value)


def test_a_variable_may_be_the_whole_address(hook: int) -> None:
    (channel,) = channels({"url": "${HOOK}"}, HOOK=f"json://127.0.0.1:{hook}/a%20b?x=y")
    assert channel.label == "channel 1 (json)" and told([channel]) == [""]
    assert Hook.got[0][0].startswith("/a%20b")
    with pytest.raises(UsageError, match="service"):
        channels({"url": "${HOOK}"}, HOOK="no address")


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"chanels": []}, "chanels"),
        ({"channels": [{"url": "a://b", "sns": "c"}]}, "one of"),
        ({"channels": [{}]}, "one of"),
        ({"channels": ["slack://x"]}, "list"),
        ({"channels": [{"command": "rm -rf"}]}, "list of words"),
        ({"channels": [{"url": "no address"}]}, "slack://"),
        ({"channels": [{"url": "a://b", "events": ["test_failed"]}]}, "events"),
        ({"events": "failed"}, "events"),
    ],
)
def test_a_mistake_is_named(given: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        alerts_of(given, {})


def test_no_settings_tell_nobody() -> None:
    assert alerts_of({}, {}) == Alerts([])
    assert send([]) == {}
