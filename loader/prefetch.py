"""Reading a source in a thread, so that source and destination work at the same time."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from .wire import Block

# Bytes that may wait between the source and the destination, beside one more block: enough for the
# destination to go on while the source counts the rows of a large table.
BYTES_AHEAD = 16_000_000

Read = Callable[[], Iterator[Block]]


class Prefetch:
    """Reads the tables of a source one after the other in a thread, ahead of the consumer."""

    def __init__(self, reads: Sequence[Read]) -> None:
        self._reads = reads
        # None is the end of a table.
        self._waiting: deque[Block | BaseException | None] = deque()
        self._bytes = 0
        self._stopped = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Prefetch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def next_table(self) -> Iterator[Block]:
        """The blocks of the next table; use up one before asking for the next."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                item = self._waiting.popleft()
                if isinstance(item, Block):
                    self._bytes -= len(item.data)
                self._changed.notify()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def _run(self) -> None:
        try:
            for read in self._reads:
                for block in read():
                    if not self._put(block):
                        return
                if not self._put(None):
                    return
        except BaseException as error:
            self._put(error)

    def _put(self, item: Block | BaseException | None) -> bool:
        """Wait until there is room; whether anybody still wants it."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._bytes < BYTES_AHEAD)
            self._waiting.append(item)
            if isinstance(item, Block):
                self._bytes += len(item.data)
            self._changed.notify()
            return not self._stopped
