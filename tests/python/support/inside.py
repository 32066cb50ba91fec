"""A watch in a thread of this process."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from loader import Options
from loader.destinations import Destination
from loader.watch.board import board_of
from loader.watch.log import Log
from loader.watch.request import Follower, Watch
from loader.watch.status import Figures
from loader.watch.watcher import Watcher


class Inside:
    """A watch in a thread, and what it said."""

    def __init__(self, url: str, target: Any, log: Log, follower: Follower | None = None) -> None:
        self.target, self.said = target, list[str]()
        destination: Destination = target.opened()
        self.watch = Watch(url, target.opened, Options(), self.said.append, audit=0.0)
        self.watch.follower = follower
        figures = Figures("", "", "log", "")
        self.watcher = Watcher(self.watch, log, board_of(destination), figures)

    @contextmanager
    def running(self) -> Iterator["Inside"]:
        """Until the end of the block."""
        self.watch.stop.clear()
        thread = threading.Thread(target=self.watcher.run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.watch.stop.set()
            thread.join(20)
            assert not thread.is_alive(), self.said

    def wait(self, sql: str, rows: list[Any]) -> None:
        """Until raw says so."""
        deadline = time.monotonic() + 20
        while True:
            try:
                # Two opened at once in one process would disturb the watch.
                with self.target.opened().alone("the test", self.said.append):
                    found = self.target.ask(sql)
            except Exception as error:  # a batch has the file, or the table is not there yet
                found = [error]
            if found == rows:
                return
            assert time.monotonic() < deadline, (found, self.said)
            # Longer than between two looks at the lock, so that the watch has its turn.
            time.sleep(0.2)
