"""What comes after a batch: what follows raw tables, and copies of a DuckDB file for readers."""

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import LoadError
from .board import Board
from .changes import Place, shown
from .guarded import Guarded
from .request import Watch
from .status import Figures

# Seconds without a change after which what would hold up the next one may be done.
QUIET = 2.0
# No batch is written while the file is copied, so copies take this part of the time at most.
SHARE = 30.0


class After:
    """What a watch does beside its batches. The lock is held for `batch` and `copy`."""

    def __init__(
        self, watch: Watch, board: Board, figures: Figures, once: Callable[[str], None]
    ) -> None:
        self._watch, self._board, self._figures = watch, board, figures
        self._once = once
        self._follower = Guarded(watch.follower, once) if watch.follower else None
        # The position of the last batch; and that which the follower has.
        self._place: Place | None = None
        self._position = ""
        self._batch_at = 0.0
        self._made_at, self._took, self._copied = 0.0, 0.0, (0, "")

    def begin(self) -> None:
        """Before the first batch."""
        if self._follower:
            self._follower.begin(self._watch.stop)

    def batch(self, committed_at: float, place: Place | None) -> None:
        """Raw tables are published, with commits up to this time and place."""
        self._batch_at, self._place = time.monotonic(), place
        if self._follower:
            self._follower.after_batch(committed_at)
            self._note_position()

    def is_due(self, *, busy: bool) -> bool:
        """Whether the follower has something to do. `busy`: changes wait."""
        quiet = self._is_quiet(busy=busy)
        return self._follower is not None and self._follower.is_due(quiet=quiet)

    def work(self, *, busy: bool) -> None:
        """Let it do that; no lock is held. Raises BusyError."""
        assert self._follower
        self._follower.work(quiet=self._is_quiet(busy=busy))
        self._note_position()

    def _note_position(self) -> None:
        if self._follower and self._follower.is_whole:
            self._position = shown(self._place)

    def _is_quiet(self, *, busy: bool) -> bool:
        return not busy and time.monotonic() - self._batch_at > QUIET

    def told(self, status: Mapping[str, Any]) -> None:
        """How the watch is."""
        if self._follower:
            self._follower.told(status)

    def end(self) -> None:
        """The watch has ended."""
        if self._follower:
            self._follower.end()

    def status(self) -> dict[str, Any]:
        """How the follower is; empty without one."""
        found = self._follower.status() if self._follower else {}
        return {"position": self._position, **found} if found else {}

    @property
    def copy_is_due(self) -> bool:
        """Whether a copy is wanted, something has changed, and all of it is worth reading."""
        wait = max(self._watch.copy, SHARE * self._took)
        is_late = bool(self._watch.copy) and time.monotonic() - self._made_at > wait
        is_whole = self._follower is None or self._follower.is_whole
        return is_late and is_whole and self._copied != self._state

    @property
    def _state(self) -> tuple[int, str]:
        """What differs when there is something new to read."""
        return self._figures.batches, self.status().get("built_at", "")

    def copy(self) -> None:
        """Give readers a new copy, if one is due."""
        began, error = time.monotonic(), ""
        if not self.copy_is_due:
            return
        kept = self._watch.kept
        was_open = kept is not None and kept.is_open
        try:
            if kept:
                # A copy would lack what is only in the log of an open file.
                kept.release()
            if not self._board.copy():
                return
            self._copied = self._state
        except LoadError as found:
            # The raw tables go on at once, and the copy waits as after one that was made.
            error = str(found)
            self._figures.failed(error)
            self._once(
                f"watch: {error} The raw tables are followed; the copy is tried again later."
            )
        if kept and was_open:
            with contextlib.suppress(LoadError):
                kept.prepare()
        before, self._made_at = self._took, time.monotonic()
        self._took = self._made_at - began
        if not error and before * SHARE <= self._watch.copy < self._took * SHARE:
            self._watch.say(
                f"watch: the copy for readers took {self._took:.1f} s, in which nothing else is"
                f" written, so it is made every {self._took * SHARE:.0f} s and not every"
                f" {self._watch.copy:g} s: --copy is for smaller shops or faster disks"
            )
