"""What was heard of a source's log: keys by table, until a batch has read them."""

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from ..errors import LoadError
from ..ranges import Key

# Changed keys of one table from which on it is compared as a whole, which takes no memory.
MOST_KEYS = 20_000
# Changed keys that may wait while a batch is written; then the log is not read on.
MOST_WAITING = 40_000

# Seconds between two words to the source while nothing is taken.
MEANWHILE = 5.0
# A place in a log; later ones are greater.
Place = tuple[Any, ...]


class LogLostError(LoadError):
    """The log cannot be read on from the place that was stored; the text says why."""


class LogRefusedError(LoadError):
    """The user may not read the log."""


class LogSilentError(LoadError):
    """The source says nothing any more, not even that it is there."""


@dataclass
class Heard:
    """The changes of one transaction, or of several that follow each other."""

    # Where the log is read on after them.
    place: Place | None = None
    # By raw table, the keys and whether there is a row with it; None: compare the table.
    tables: dict[str, dict[Key, bool] | None] = field(default_factory=dict)
    # Why tables are compared as a whole: a reason for each.
    reasons: dict[str, str] = field(default_factory=dict)
    # Tables that are compared as a whole though no log told of a change there.
    untold: set[str] = field(default_factory=set)
    # By table that is compared as a whole, how many deleted rows a log told of, once or more.
    gone: dict[str, int] = field(default_factory=dict)
    # The source's tables or columns may be others now.
    reshaped: bool = False
    # All tables are compared, and why.
    everything: str = ""
    # When the oldest of them was committed: seconds since the epoch, by the source's clock.
    at: float = 0.0
    # When the newest was, where there are several.
    newest_at: float = 0.0
    # By table of which that is wanted, when each key was first written: seconds as in `at`.
    times: dict[str, dict[Key, float]] = field(default_factory=dict)
    # The transaction's number, where a snapshot says which of them it shows: PostgreSQL's, MySQL's.
    xid: int | None = None
    gtid: tuple[str, int] | None = None

    @property
    def says_something(self) -> bool:
        """Whether there is anything to read."""
        return bool(self.tables or self.reshaped or self.everything)

    @property
    def size(self) -> int:
        """How many keys."""
        return sum(len(keys or ()) for keys in self.tables.values())

    @property
    def weight(self) -> int:
        """What it counts while it waits: also a whole table is something."""
        return max(1, self.size) if self.says_something else 0

    def row(self, table: str, key: Key, *, exists: bool) -> None:
        """A row with this key was written, or is gone."""
        keys = self.tables.setdefault(table, {})
        if keys is not None:
            keys[key] = exists
            if len(keys) > MOST_KEYS:
                self.whole(table, f"more than {MOST_KEYS:,} of its rows changed at once")
        elif not exists:
            self._note_gone(table, 1)

    def whole(self, table: str, why: str, *, told: bool = True) -> None:
        """Something happened to a table of which the log does not tell every row; or of nothing."""
        if told:
            self.untold.discard(table)
        elif table not in self.tables or self.tables[table] is not None:
            self.untold.add(table)
        self._note_gone(table, _deleted(self.tables.get(table)))
        self.tables[table] = None
        self.reasons.setdefault(table, why)
        self.times.pop(table, None)

    def add(self, later: "Heard", timed: Collection[str] = ()) -> None:
        """Add what followed; of `timed` tables also when it was committed, key by key."""
        for table, keys in later.tables.items():
            if keys is None:
                told = table not in later.untold
                self.whole(table, later.reasons.get(table, ""), told=told)
                self._note_gone(table, later.gone.get(table, 0))
            elif table not in self.tables:
                self.tables[table] = dict(keys)
            elif (held := self.tables[table]) is not None:
                held.update(keys)
                if len(held) > MOST_KEYS:
                    self.whole(table, f"more than {MOST_KEYS:,} of its rows changed at once")
            else:
                self._note_gone(table, _deleted(keys))
        for table in timed:
            if later.at and self.tables.get(table) is not None:
                times = self.times.setdefault(table, {})
                for key in later.tables.get(table) or ():
                    times.setdefault(key, later.at)
        self.reshaped |= later.reshaped
        self.everything = self.everything or later.everything
        self.place, self.at = later.place or self.place, self.at or later.at
        self.newest_at = max(self.newest_at, later.newest_at, later.at)

    def _note_gone(self, table: str, rows: int) -> None:
        if rows:
            self.gone[table] = self.gone.get(table, 0) + rows


class Channel:
    """What one thread hears, for another to read; it waits when too much is waiting."""

    def __init__(self) -> None:
        self._waiting: deque[Heard | BaseException] = deque()
        self._keys = 0
        self._closed = self._broken = False
        self._changed = threading.Condition()

    @property
    def has_ended(self) -> bool:
        """Nothing comes any more: it was closed, or the thread that hears has ended."""
        return self._closed or self._broken

    @property
    def is_empty(self) -> bool:
        """Nothing waits."""
        return not self._waiting

    def put(
        self, heard: Heard | BaseException, meanwhile: Callable[[], None] = lambda: None
    ) -> bool:
        """Hand over; whether anybody still wants it. Calls `meanwhile` now and then as it waits."""
        with self._changed:
            while not self._changed.wait_for(
                lambda: self._closed or self._keys < MOST_WAITING, MEANWHILE
            ):
                meanwhile()
            last = self._waiting[-1] if self._waiting else None
            self._broken |= isinstance(heard, BaseException)
            if isinstance(heard, Heard):
                self._keys += heard.weight
                if isinstance(last, Heard) and not last.says_something:
                    self._waiting.pop()  # the later place says it too
            self._waiting.append(heard)
            self._changed.notify_all()
            return not self._closed

    def get(self, seconds: float) -> Heard | None:
        """The next, or None when there was none for some time. Raises what ended the thread."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting, seconds)
            if not self._waiting:
                return None
            heard = self._waiting.popleft()
            if isinstance(heard, BaseException):
                self._waiting.append(heard)  # for whoever asks again
                raise heard
            self._keys -= heard.weight
            self._changed.notify_all()
            return heard

    def close(self) -> None:
        """Nobody reads any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _deleted(keys: dict[Key, bool] | None) -> int:
    return sum(not exists for exists in (keys or {}).values())


def compared(tables: Iterable[str], why: str) -> Heard:
    """What says that tables are to be compared as a whole."""
    heard = Heard()
    for table in tables:
        heard.whole(table, why)
    return heard


def shown(place: Place | None) -> str:
    """A place as a person reads it."""
    if place is None:
        return ""
    if isinstance(place[1], str):  # the name of a slot of PostgreSQL
        return f"{place[0] >> 32:X}/{place[0] & 0xFFFFFFFF:X}"
    return f"{place[2]}:{place[1]}"
