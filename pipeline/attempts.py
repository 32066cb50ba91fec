"""When a watch tries again what failed."""

from __future__ import annotations

import time
from dataclasses import dataclass

# Seconds before something that failed is tried again: at first, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 300.0


@dataclass
class Attempts:
    """One thing that is done again and again. After each failure it waits twice as long."""

    first: float = FIRST_PAUSE
    has_failed: bool = False
    pause: float = 0.0
    retry_at: float = 0.0

    @property
    def may_begin(self) -> bool:
        """Whether it need not wait."""
        return time.monotonic() >= self.retry_at

    def failed(self) -> None:
        """It failed: wait `pause` seconds."""
        self.has_failed = True
        longest = max(self.first, LONGEST_PAUSE)
        self.pause = min(longest, self.pause * 2) or self.first
        self.retry_at = time.monotonic() + self.pause

    def succeeded(self) -> None:
        """It did not fail, or what was to be done is no more."""
        self.has_failed, self.pause, self.retry_at = False, 0.0, 0.0
