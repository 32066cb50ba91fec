"""Where there is no log, or no right to read it: the source is compared every few seconds."""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..schema import Table
from ..sources import Source, open_source
from .changes import Channel, Heard, Place
from .log import Log

POLLED = "it is time"


class PollLog(Log):
    """A log that says nothing but that it is time to compare; the loader's digests do the rest."""

    def __init__(self, url_text: str, every: float) -> None:
        self._text, self._every = url_text, every
        self.channel = Channel()
        self._stopped = threading.Event()

    def start(self, saved: Any) -> None:
        self._stopped.set()
        self.channel, self._stopped = Channel(), threading.Event()
        threading.Thread(target=self._run, args=(self.channel, self._stopped), daemon=True).start()

    def _run(self, channel: Channel, stopped: threading.Event) -> None:
        while not stopped.wait(self._every):
            # One that waits says it already: what took longer than a turn is not done twice.
            if channel.is_empty:
                channel.put(Heard(everything=POLLED, at=time.time()))

    def begun_at(self) -> Place | None:
        return None

    def snapshot(self) -> Source:
        return open_source(self._text)

    def heard_at(self) -> float:
        return time.monotonic()

    def ends(self, place: Place | None) -> bool:
        return True

    def shows(self, heard: Heard) -> bool:
        return True

    def learn(self, source: Source, tables: Sequence[Table]) -> None:
        """Nothing: no keys are heard."""

    def key_columns(self) -> Mapping[str, tuple[str, ...]]:
        return {}

    def confirm(self, place: Place) -> None:
        """Nothing is kept."""

    def behind(self, published: Place | None) -> int | None:
        return None

    def close(self) -> None:
        self._stopped.set()
        self.channel.close()
