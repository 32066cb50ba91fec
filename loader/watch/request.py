"""What a watch was asked for."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..answering import answering
from ..destinations import Destination, Kept
from ..options import Options

COMMAND = "python -m loader watch"


class Follower(Protocol):
    """What is made of the raw tables, and follows them.

    Nothing that goes wrong there ends a watch: it is said, and part of the status.
    """

    @property
    def is_whole(self) -> bool:
        """Whether readers can be given what it has made."""

    def begin(self, stop: threading.Event) -> None:
        """Before the first batch; no lock is held."""

    def after_batch(self, committed_at: float) -> None:
        """Raw tables may have other rows, with commits up to this time (0: unknown).

        The lock is held, and the watch reads nothing of the warehouse; a file is open as `kept`.
        """

    def is_due(self, *, quiet: bool) -> bool:
        """Whether it has work of its own. `quiet`: nothing was heard for a moment."""

    def work(self, *, quiet: bool) -> None:
        """That work, or a part of it; no lock is held. Raises BusyError."""

    def status(self) -> dict[str, Any]:
        """How it is, for `status`."""

    def told(self, status: Mapping[str, Any]) -> None:
        """How the watch is, with that in it; from any thread, every two seconds at least."""

    def end(self) -> None:
        """The watch has ended; also where it could not begin."""


@dataclass
class Watch:
    """What a person asked for."""

    source_url: str
    open_destination: Callable[[], Destination]
    options: Options
    say: Callable[[str], None]
    # Seconds between two comparisons of all tables; 0 for none.
    audit: float = 900.0
    # Seconds between two comparisons of what no log tells.
    every: float = 10.0
    # Seconds between two copies for readers; 0 for none.
    copy: float = 0.0
    # Raw tables of which it is stored when a row was first committed.
    commit_times: tuple[str, ...] = ()
    follower: Follower | None = None
    kept: Kept | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def alone(self) -> Iterator[Destination]:
        """Keep others away from the warehouse, as long as it answers. Raises BusyError."""
        destination = self.open_destination()
        with (
            answering(destination.greet, destination.abort),
            destination.alone(COMMAND, self.say),
        ):
            yield destination
