"""A statement may take long, as long as its server answers others."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .errors import LoadError, SilentError

# Seconds between two looks at whether the server answers.
EVERY = 30.0


@contextmanager
def answering(greet: Callable[[], object], abort: Callable[[], None]) -> Iterator[None]:
    """End what the block waits for if the server lets nobody in any more: a proxy may be silent.

    `greet` logs in and out again, or raises LoadError. A refusal (too many connections) is an
    answer; only SilentError is none.
    """
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(EVERY):
            try:
                greet()
            except SilentError:
                if not ended.is_set():
                    abort()
                return
            except LoadError:
                continue

    threading.Thread(target=look, daemon=True).start()
    try:
        yield
    finally:
        ended.set()
