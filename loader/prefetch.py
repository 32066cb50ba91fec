"""Reading a source in a thread, so that source and destination work at the same time."""

import queue
import threading
from collections.abc import Callable, Iterator

from .wire import Block

# Blocks of about 1 MB that may wait between the source and the destination.
BLOCKS_AHEAD = 4


class Prefetch:
    """Reads a source in a thread, a few blocks ahead of the consumer."""

    def __init__(self, read: Callable[[], Iterator[Block]]) -> None:
        self._read = read
        self._queue: queue.Queue[Block | BaseException | None] = queue.Queue(BLOCKS_AHEAD)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Prefetch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        while self._thread.is_alive():
            # The thread may be waiting because the queue is full.
            while not self._queue.empty():
                self._queue.get_nowait()
            self._thread.join(0.05)

    def __iter__(self) -> Iterator[Block]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def _run(self) -> None:
        try:
            for block in self._read():
                self._queue.put(block)
                if self._stop.is_set():
                    return
        except BaseException as error:
            self._queue.put(error)
        self._queue.put(None)
