"""A follower of a watch, whose errors do not end the watch."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..errors import BusyError, LoadError
from .request import Follower

# Seconds before work that failed is tried again.
PAUSE = 30.0


class Guarded:
    """Calls a follower, and says what goes wrong there; `work` alone raises, and only BusyError.

    What a run has made that failed is not whole, until another run does not fail.
    """

    def __init__(self, follower: Follower, once: Callable[[str], None]) -> None:
        self._follower, self._once = follower, once
        self._status: dict[str, Any] = {}
        # Why the last run failed, or "".
        self._failed, self._retry_at = "", 0.0

    @contextlib.contextmanager
    def _guard(self, *, runs: bool = False, waits: bool = False) -> Iterator[None]:
        """`waits`: where another run has the lock, the watch tries again."""
        try:
            yield
            if runs:
                self._failed = ""
        except Exception as error:
            if waits and isinstance(error, BusyError):
                raise
            said = " ".join(str(error).split()).rstrip(".")
            why = said if isinstance(error, LoadError) else f"{type(error).__name__}: {said}"
            if runs:
                self._failed, self._retry_at = why, time.monotonic() + PAUSE
            self._once(f"watch: what follows the raw tables failed: {why}. The watch goes on.")

    @property
    def is_whole(self) -> bool:
        """As the follower says, unless it failed."""
        with self._guard():
            return not self._failed and self._follower.is_whole
        return False

    def begin(self, stop: threading.Event) -> None:
        """Let it begin."""
        with self._guard(runs=True):
            self._follower.begin(stop)

    def after_batch(self, committed_at: float) -> None:
        """Let it follow a batch."""
        with self._guard(runs=True):
            self._follower.after_batch(committed_at)

    def is_due(self, *, quiet: bool) -> bool:
        """As it says; a run that failed is due again after a pause."""
        if self._failed:
            return time.monotonic() >= self._retry_at
        with self._guard():
            return self._follower.is_due(quiet=quiet)
        return False

    def work(self, *, quiet: bool) -> None:
        """Let it work. Raises BusyError."""
        with self._guard(runs=True, waits=True):
            self._follower.work(quiet=quiet)

    def status(self) -> dict[str, Any]:
        """How it is, or was when it could say so, and why it failed."""
        with self._guard():
            self._status = self._follower.status()
        failed = {"state": f"failed: {self._failed}"} if self._failed else {}
        return {**self._status, **failed} if self._status else {}

    def told(self, status: Mapping[str, Any]) -> None:
        """Tell it how the watch is."""
        with self._guard():
            self._follower.told(status)

    def end(self) -> None:
        """Let it end."""
        with self._guard():
            self._follower.end()
