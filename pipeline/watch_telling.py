"""What a watch tells: marts that do not follow, red tests, a source that is away, stale tables.

It looks now and then, and at once when marts or tests become red or green. What it finds is sent in
a thread of its own, so that a channel that hangs holds up no batch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from loader.watch.status import seconds_since
from pipeline.expectations import STALE
from pipeline.incidents import FAILED, TEST, Observed, Seen
from pipeline.settings import Settings
from pipeline.telling import expected, seen_by_the_way, tell
from pipeline.warehouse import DuckDB, Warehouse

EVERY = 60.0  # seconds between two looks
# Seconds for which a source must be away; and those after an error in which nothing says that it
# is back: the watcher's attempts are up to a minute apart.
AWAY, BACK_AFTER = 60.0, 180.0
STANDING = ("failed", "do not follow")


class WatchTelling:
    """Opens and closes the incidents of a watch."""

    def __init__(
        self,
        warehouse: Warehouse,
        settings: Settings,
        say: Callable[[str], None],
        every: float = EVERY,
        away: float = AWAY,
    ) -> None:
        self._warehouse, self._settings, self._say = warehouse, settings, say
        self._every, self._away = every, away
        self._looked_at, self._signs = float("-inf"), ""
        self._away_since, self._source_error = 0.0, ""
        self._marts: Mapping[str, Any] = {}
        # Two threads look: two messages about the same would be one too many.
        self._starting = threading.Lock()
        self._sending: threading.Thread | None = None

    def is_due(self, marts: Mapping[str, Any]) -> bool:
        """Whether a look is due; `marts` is their status."""
        if self._is_sending or not self._is_of_interest(marts):
            return False
        is_new = self._signs_of(marts) != self._signs
        return is_new or time.monotonic() - self._looked_at >= self._every

    def look(self, marts: Mapping[str, Any]) -> None:
        """Look at marts and raw tables, and tell what is new. The caller may read the warehouse."""
        if not self.is_due(marts):
            return
        self._looked_at, self._signs, self._marts = time.monotonic(), self._signs_of(marts), marts
        observed = self._observed()
        if str(marts["state"]).startswith("follow"):
            # A watch confirms all tables all the time, without a load as long as nothing changes.
            wanted = self._settings.expectations
            if not self._source_error:
                wanted = wanted.without_loads
            expected(self._warehouse, wanted, self._settings.day, observed)
            observed.judged.add(STALE)
            seen_by_the_way(self._warehouse, datetime.now(UTC).date(), observed)
        self._send(observed)

    def heard(self, watch: Mapping[str, Any]) -> None:
        """Hear how the watch is; in another thread, also while the source is away."""
        error, at = watch.get("last_error"), watch.get("last_error_at")
        is_away = bool(error and at and seconds_since(at) < max(BACK_AFTER, self._away))
        if not is_away:
            self._away_since, self._source_error = 0.0, ""
            return
        self._away_since = self._away_since or time.monotonic()
        if self._source_error or time.monotonic() - self._away_since < self._away:
            return
        if not self._is_sending:
            self._source_error = str(error)
            self._send(self._observed())

    @staticmethod
    def _is_of_interest(marts: Mapping[str, Any]) -> bool:
        """Not while a complete build runs: that tells by itself."""
        return str(marts.get("state", "")).startswith(("follow", *STANDING))

    def _signs_of(self, marts: Mapping[str, Any]) -> str:
        red = sorted(test["test"] for test in marts["failed"])
        return f"{str(marts['state']).partition(':')[0]} {red} {bool(self._source_error)}"

    def _observed(self) -> Observed:
        observed, marts = Observed(), self._marts
        state = str(marts.get("state", ""))
        if state == "follow":
            observed.judged |= {FAILED, TEST}
        elif state.startswith(STANDING):
            observed.seen.append(Seen(FAILED, "watch", f"The marts {state}"))
        for test in marts.get("failed", ()):
            observed.seen.append(Seen(TEST, test["test"], test["text"]))
        if self._source_error:
            observed.seen.append(Seen(FAILED, "source", self._source_error))
        return observed

    @property
    def _is_sending(self) -> bool:
        return self._sending is not None and self._sending.is_alive()

    def _send(self, observed: Observed) -> None:
        # A DuckDB file is open for writing in this process: the next build stores them there.
        in_table = not isinstance(self._warehouse, DuckDB)

        def work() -> None:
            for line in tell(self._warehouse, self._settings.alerts, observed, in_table=in_table):
                if not line.startswith("nobody"):
                    self._say(f"watch: {line}")

        with self._starting:
            if not self._is_sending:
                self._sending = threading.Thread(target=work, name="alerts", daemon=True)
                self._sending.start()
