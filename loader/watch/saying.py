"""What a watch says only once in a while."""

import time
from collections.abc import Callable

# Seconds after which the same sentence is said again.
REPEAT = 600.0


class Once:
    """Says a sentence, unless it was said a moment ago."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._said = say, dict[str, float]()

    def __call__(self, text: str) -> None:
        """Say it, or not."""
        now = time.monotonic()
        if now - self._said.get(text, -REPEAT) >= REPEAT:
            self._said[text] = now
            self._say(text)
