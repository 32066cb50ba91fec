"""How a watch shares the warehouse with others: its lock, and a file of DuckDB."""

import contextlib
import threading
import time

from ..destinations import Kept
from ..errors import LoadError
from .changes import Channel, Heard

# Seconds for which lock and file are free at least once in so many seconds.
GAP, FREE_EVERY = 0.25, 5.0
# Seconds after a batch (and after the tests that come then) in which the file stays open.
STAYS_OPEN = 2.5
# Seconds between two looks at who waits for a file that is open.
LOOK_EVERY = 0.05


class Turns:
    """Leaves both free for a moment now and then, for whoever waits for them."""

    def __init__(self, stop: threading.Event, kept: Kept | None = None) -> None:
        """`kept`: the file, if there is one that stays open between batches."""
        self._stop, self._kept = stop, kept
        self._ended_at = self._free_at = self._let_go_at = 0.0
        # The file is to be opened again before the next batch needs it.
        self._opens_again = False

    def listen(self, channel: Channel) -> Heard | None:
        """What was heard next; where that is nothing to read, others can have the file."""
        is_held = self._kept is not None and (self._opens_again or self._kept.is_open)
        heard = channel.get(LOOK_EVERY if is_held else 0.5)
        if heard is None or not heard.says_something:
            self._rest()
        return heard

    def give_way(self) -> None:
        """Before the lock is taken."""
        now = time.monotonic()
        is_long = self._is_open_for_long(now)
        wait = max(0.0, self._let_go_at + GAP - now)
        if is_long or (now - self._ended_at < GAP and now - self._free_at > FREE_EVERY):
            self.let_go()
            wait = GAP
        if wait:
            self._stop.wait(wait)
        if time.monotonic() - self._ended_at >= GAP:
            self._free_at = time.monotonic()

    def ended(self) -> None:
        """The lock is free."""
        self._ended_at = time.monotonic()

    def _rest(self) -> None:
        """Let others have the file, and be ready for the next batch."""
        kept, now = self._kept, time.monotonic()
        if kept is None:
            return
        is_late = now - self._ended_at > STAYS_OPEN
        if kept.is_open:
            if kept.is_wanted or is_late or self._is_open_for_long(now):
                self._opens_again = not (kept.is_wanted or is_late)
                self.let_go()
        elif self._opens_again and now - self._let_go_at >= GAP:
            self._opens_again = False
            # Where others have it, the next batch waits for them.
            if not is_late and not kept.is_wanted:
                with contextlib.suppress(LoadError):
                    kept.prepare()

    def let_go(self) -> None:
        """Let others have the file."""
        if self._kept is not None and self._kept.is_open:
            self._kept.release()
            self._let_go_at = time.monotonic()

    def _is_open_for_long(self, now: float) -> bool:
        kept = self._kept
        return kept is not None and kept.is_open and now - kept.opened_at > FREE_EVERY
