"""Who is told what: the channels in loader.yml, and how a message reaches all of them at once.

alerts:
  name: shop in production
  events: [failed, test failed, stale]              # default: all
  channels:
    - url: mailtos://shop:${SMTP_PASSWORD}@smtp.example?to=ops@example.com
    - {sns: "arn:aws:sns:eu-central-1:123456789012:shop", events: [failed]}
    - {command: [/usr/local/bin/page-us]}           # the message is JSON on its standard input

Each channel is a process of its own, so that one that hangs can be ended, and only these processes
import what sends.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any
from urllib.parse import quote

from loader.errors import LoadError, UsageError
from pipeline.project import PROJECT

BACK = "back to green"
EVENTS = (
    *("failed", "stale", "test failed", "volume odd", "schema changed", "acceptance ends"),
    BACK,
)
KINDS = ("url", "sns", "command")
SECONDS = 5.0  # for all channels together, from the start of their processes
LONGEST_TITLE, LONGEST_BODY = 100, 20_000
NAME = re.compile(r"\$\{(\w+)\}")
# Control characters, and those that change the direction in which a line is read.
UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


@dataclass(frozen=True)
class Channel:
    """One way to tell somebody. `given` may hold passwords: it is never printed."""

    kind: str
    label: str
    events: frozenset[str]
    given: str | Sequence[str] = field(repr=False)
    secrets: Sequence[str] = field(default=(), repr=False)


@dataclass(frozen=True)
class Message:
    """What is told: a title of one line, and lines below it. `facts` are for programs."""

    title: str
    lines: Sequence[str]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Harmless whatever rows of the shop are in it."""
        body = "\n".join(harmless(line) for line in self.lines)
        return {
            "title": harmless(self.title)[:LONGEST_TITLE],
            "body": body[:LONGEST_BODY],
            **self.facts,
        }


@dataclass(frozen=True)
class Alerts:
    """The channels, and by which name they call this warehouse."""

    channels: Sequence[Channel] = ()
    name: str = "the model shop's warehouse"


def harmless(text: str) -> str:
    """One line of text, without characters that are no text."""
    return UNSEEN.sub(" ", text.replace("\n", " ").replace("\t", " "))


# -- settings --------------------------------------------------------------------------------------


def alerts_of(given: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Alerts:
    """The settings in loader.yml. Raises UsageError, which never holds an address."""
    _refuse_unknown(given, ("name", "events", "channels"), "")
    events = _events(given.get("events"), "")
    channels = given.get("channels") or []
    if not isinstance(channels, list) or not all(isinstance(c, dict) for c in channels):
        raise UsageError("loader.yml, alerts: channels is a list of url:, sns: or command:.")
    name = given.get("name", Alerts.name)
    if not isinstance(name, str):
        raise UsageError("loader.yml, alerts: name is a text.")
    found = [_channel(n, c, events, environment) for n, c in enumerate(channels, 1)]
    return Alerts(found, name)


def _channel(
    number: int, given: Mapping[str, Any], events: frozenset[str], environment: Mapping[str, str]
) -> Channel:
    where = f", channel {number}"
    _refuse_unknown(given, (*KINDS, "name", "events"), where)
    kinds = [kind for kind in KINDS if given.get(kind)]
    if len(kinds) != 1:
        raise UsageError(f"loader.yml, alerts{where}: needs one of url, sns and command.")
    kind, value = kinds[0], given[kinds[0]]
    is_list = isinstance(value, list) and all(isinstance(part, str) for part in value)
    if not (is_list if kind == "command" else isinstance(value, str)):
        fits = "a list of words" if kind == "command" else "a text"
        raise UsageError(f"loader.yml, alerts{where}: {kind} is {fits}.")
    secrets: list[str] = []

    def filled(text: str) -> str:
        def value_of(match: re.Match[str]) -> str:
            if not environment.get(match[1]):
                raise UsageError(
                    f"loader.yml, alerts{where}: the environment has no {match[1]}, which its"
                    f" {kind} names."
                )
            secrets.append(environment[match[1]])
            # In a URL a password may have any character; a variable may also be the whole URL.
            is_part = kind == "url" and match[0] != value
            return quote(secrets[-1], safe="") if is_part else secrets[-1]

        return NAME.sub(value_of, text)

    whole = [filled(part) for part in value] if is_list else filled(value)
    what = kind
    if kind == "url":
        if not (scheme := re.match(r"([a-z0-9+]+)://", str(whole), re.IGNORECASE)):
            raise UsageError(f"loader.yml, alerts{where}: url begins with its service: slack://.")
        what = scheme[1]
    label = given.get("name") or f"channel {number} ({what})"
    chosen = _events(given["events"], where) if "events" in given else events
    if kind == "url":
        secrets += secret_parts(str(whole))
    return Channel(kind, harmless(str(label)), chosen, whole, secrets)


def secret_parts(url: str) -> list[str]:
    """All of an address but its service: many services have a token in the place of the host."""
    parts = re.split(r"[/:@?&=,;]+", url.partition("://")[2])
    return [part for part in parts if len(part) > 3]


def _refuse_unknown(given: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in given:
        if key not in known:
            raise UsageError(
                f"loader.yml, alerts{where}: unknown key {key}; known: {', '.join(known)}."
            )


def _events(given: Any, where: str) -> frozenset[str]:
    if given is None:
        return frozenset(EVENTS)
    if not isinstance(given, list) or not all(event in EVENTS for event in given):
        raise UsageError(f"loader.yml, alerts{where}: events are some of {', '.join(EVENTS)}.")
    return frozenset(given)


# -- sending ---------------------------------------------------------------------------------------


def send(messages: Sequence[tuple[Channel, Message]], seconds: float = SECONDS) -> dict[str, str]:
    """Send to all channels at the same time; by label, why it was not sent, or empty.

    Whatever a channel does, this takes hardly longer than `seconds`, and raises nothing.
    """
    deadline = time.monotonic() + seconds
    started = [(channel, _start(channel, message)) for channel, message in messages]
    outcomes = {}
    for channel, process in started:
        said = process if isinstance(process, str) else _ended(process, deadline, seconds)
        outcomes[channel.label] = redacted(said, channel.secrets)
    return outcomes


@dataclass(frozen=True)
class Started:
    """The process of a channel, and the file with what it says: a pipe may be held open."""

    process: subprocess.Popen[bytes]
    said: IO[bytes]


def _start(channel: Channel, message: Message) -> Started | str:
    """Start the process of a channel with its message, or say why there is none."""
    content = message.as_json()
    if channel.kind == "command":
        command = list(channel.given)
    else:
        command = [sys.executable, "-m", "pipeline.alert_channel"]
        content = {"kind": channel.kind, "given": channel.given, **content}
    said = tempfile.TemporaryFile()  # noqa: SIM115 (read when the process has ended)
    with tempfile.TemporaryFile() as given:
        given.write(json.dumps(content).encode())
        given.seek(0)
        try:
            process = subprocess.Popen(
                command,
                cwd=PROJECT,
                stdin=given,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        except OSError as error:
            said.close()
            return f"it cannot be started: {error.strerror}"
    return Started(process, said)


def _ended(started: Started, deadline: float, seconds: float) -> str:
    """Why a channel's process did not send; empty where it did."""
    process = started.process
    with started.said as said:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            # With what it has started.
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return f"no answer within {seconds:g} s"
        if process.returncode == 0:
            return ""
        said.seek(max(0, said.seek(0, os.SEEK_END) - 2000))
        lines = said.read().decode(errors="replace").strip().splitlines()
    return f"exit code {process.returncode}: {harmless((lines or ['it says nothing'])[-1])[:300]}"


def redacted(text: str, secrets: Sequence[str]) -> str:
    """The text without anything of an address."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


# -- make alert-test -------------------------------------------------------------------------------


def main() -> int:
    """Send a test message to all channels; 0 where each took it."""
    from loader.config import find_config

    os.chdir(PROJECT)
    try:
        alerts = alerts_of(find_config().alerts)
    except LoadError as error:
        print(f"make alert-test: {error}", file=sys.stderr)
        return 1
    if not alerts.channels:
        print("make alert-test: loader.yml has no alerts: channels.", file=sys.stderr)
        return 1
    message = Message(
        f"{alerts.name}: a test",
        ["This is a test of make alert-test. Nothing is wrong."],
        {"event": "test", "incidents": []},
    )
    outcomes = send([(channel, message) for channel in alerts.channels])
    for label, why in outcomes.items():
        print(f"  {label}: {why or 'sent'}")
    return 1 if any(outcomes.values()) else 0
