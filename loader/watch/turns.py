"""How a watch shares the warehouse's lock with others."""

import threading
import time

# Seconds for which the lock is free at least once in so many seconds.
GAP, FREE_EVERY = 0.25, 5.0


class Turns:
    """Leaves the lock free for a moment now and then, for whoever waits for it."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._ended_at = self._free_at = 0.0

    def give_way(self) -> None:
        """Before the lock is taken."""
        now = time.monotonic()
        if now - self._ended_at < GAP and now - self._free_at > FREE_EVERY:
            self._stop.wait(GAP)
        if time.monotonic() - self._ended_at >= GAP:
            self._free_at = time.monotonic()

    def ended(self) -> None:
        """The lock is free."""
        self._ended_at = time.monotonic()
