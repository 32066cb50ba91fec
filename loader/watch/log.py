"""The contract of a source's log: what the watcher asks of it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import LoadError
from ..schema import Table
from ..sources import Source
from .changes import Channel, Heard, Place

DEFINED = "its definition or its file changed"


class Log(ABC):
    """Hears in a thread of its own what changes, and hands it over in the order of the log.

    What raises does so with a LoadError in one sentence; LogLostError where the log is gone.
    """

    # Where it hands over; a new one with each start.
    channel: Channel
    # The tables have to be looked at now and then: the log does not tell of statements.
    looks = False
    # What to say before it begins at a new place, where that may take long.
    beginning = ""
    # The newest snapshot, which may be closed.
    reading: Source | None = None

    @abstractmethod
    def start(self, saved: Any) -> None:
        """Read on from a stored position, or (None) from now."""

    @abstractmethod
    def begun_at(self) -> Place | None:
        """Where it began to hear, as a place to read on from; None where it has no places."""

    @abstractmethod
    def snapshot(self) -> Source:
        """The source in a new snapshot; `ends` and `shows` speak of the newest."""

    @abstractmethod
    def heard_at(self) -> float:
        """When the log last said something that is new, by time.monotonic()."""

    def ask(self) -> None:  # noqa: B027
        """Let the source say how far its log is, where it does not by itself."""

    @abstractmethod
    def ends(self, place: Place | None) -> bool:
        """Whether everything that the snapshot shows has been heard at this place."""

    @abstractmethod
    def shows(self, heard: Heard) -> bool:
        """Whether the snapshot shows these changes."""

    @abstractmethod
    def learn(self, source: Source, tables: Sequence[Table]) -> None:
        """Look at the tables that are to be heard of: their keys, and what hangs on them."""

    @abstractmethod
    def key_columns(self) -> Mapping[str, tuple[str, ...]]:
        """By raw table, the columns of the keys that are heard."""

    def greet(self) -> None:  # noqa: B027
        """Log in to the source and out again. Raises LoadError."""

    def give_up(self) -> None:
        """Nothing is heard of the source: end the snapshot, which may wait for it for ever.

        Unless it lets somebody in: then a statement of the snapshot only takes long.
        """
        reading = self.reading
        if reading is not None:
            try:
                self.greet()
            except LoadError:
                reading.abort()

    @abstractmethod
    def confirm(self, place: Place) -> None:
        """Everything up to here is in the warehouse: the source need not keep it."""

    @abstractmethod
    def behind(self, published: Place | None) -> int | None:
        """Bytes of the log that were heard and are not in the warehouse."""

    @abstractmethod
    def close(self) -> None:
        """Stop reading; safe to call twice."""

    def kept(self) -> int | None:
        """Bytes of log that the source keeps for this watcher; None where it keeps none for it."""
        return None

    def marks(self) -> dict[str, str]:
        """By raw table that is followed, what is another when its definition is."""
        return {}

    def changed(self, before: Mapping[str, str]) -> Heard:
        """What is not followed as it was when its marks were stored: the log cannot tell it all."""
        heard = Heard()
        for table, mark in self.marks().items():
            if table not in before:
                heard.whole(table, "it was not followed until now", told=False)
            elif before[table] != mark:
                heard.whole(table, DEFINED, told=False)
        return heard

    def reshaped(self, source: Source) -> Heard:
        """What of the tables changed that the log does not tell, as the snapshot has it."""
        return Heard()

    def silent(self) -> dict[str, str]:
        """Raw tables of whose changes the log says nothing at all, and why."""
        return {}

    def unheard(self) -> dict[str, str]:
        """Raw tables that change in the log without their keys, and why."""
        return {}


def timed(asked: Sequence[str], log: Log) -> tuple[tuple[str, ...], list[str]]:
    """The tables of which a log tells when each key was first committed; and why others are not."""
    columns, found, others = log.key_columns(), list[str](), list[str]()
    reasons = log.silent() | log.unheard()
    for table in asked:
        key = columns.get(table, ())
        if len(key) == 1:
            found.append(table)
            continue
        why = f"its key has {len(key)} columns" if key else reasons.get(table, "")
        why = why or "the source has no such table, or it is not read"
        others.append(f"when rows of {table} were committed is not stored: {why}")
    return tuple(found), others
