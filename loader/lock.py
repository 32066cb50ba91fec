"""One run at a time writes into a warehouse, from whichever folder and machine it was started.

The lock is the operating system's or the server's, so that of a process that died is free.
"""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from .errors import BusyError, LoadError, UsageError

BUSY = 75  # the exit code: EX_TEMPFAIL of sysexits.h
# A server needs a moment to see that a session's process is gone.
PATIENCE = 1.0


class Lock(Protocol):
    """A lock that others see."""

    def take(self, who: str) -> str | None:
        """Take it for `who`, and return None; or return who has it."""

    def release(self) -> None:
        """Give it back, where it was taken."""


class FileLock:
    """A lock on a file that exists only while somebody has it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    def take(self, who: str) -> str | None:
        """Take the lock, or say who has it. Raises LoadError where no file can be written."""
        try:
            while True:
                file = self._open()
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    holder = os.pread(file, 1000, 0).decode(errors="replace").strip()
                    os.close(file)
                    return holder or "another run"
                # Whoever had it may have removed the file since it was opened here.
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(file), self._path.stat()):
                        break
                os.close(file)
            with contextlib.suppress(OSError):  # a file of another user, which says less
                os.truncate(file, 0)
                os.pwrite(file, who.encode(), 0)
        except OSError as error:
            raise LoadError(
                f"The lock {self._path} cannot be taken ({error.strerror}): a run needs the right"
                " to create files in the warehouse's folder."
            ) from None
        self._file = file
        return None

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        except PermissionError:
            # Another user's: reading is enough to see who has it.
            return os.open(self._path, os.O_RDONLY)

    def release(self) -> None:
        """Remove the file while it is locked, so that nobody else's is removed."""
        if self._file < 0:
            return
        with contextlib.suppress(OSError):
            self._path.unlink()
        os.close(self._file)
        self._file = -1


@contextlib.contextmanager
def holding(lock: Lock, place: str, command: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock; where another run has it, wait as long as WAIT says.

    Raises BusyError, which says who has it; UsageError where WAIT is no number.
    """
    wait = seconds_to_wait()
    deadline = time.monotonic() + max(wait, PATIENCE)
    said = False
    try:
        while holder := lock.take(this_run(command)):
            if time.monotonic() > deadline:
                raise BusyError(
                    f"{holder} is writing into {place}: run this again when it has ended, or set"
                    " WAIT=600 to wait up to 600 seconds."
                )
            if wait and not said:
                say(f"waiting up to {wait} s for {holder}")
                said = True
            time.sleep(0.1)
        yield
    finally:
        lock.release()


def this_run(command: str) -> str:
    """Who this is, for whoever finds the lock taken; PostgreSQL cuts it after 63 bytes."""
    now = f"{datetime.now(UTC):%d %b %H:%M} UTC"
    return f"{command} (since {now}, process {os.getpid()} on {socket.gethostname()})"


def seconds_to_wait() -> int:
    """The value of WAIT, in seconds. Raises UsageError."""
    given = os.environ.get("WAIT", "") or "0"
    if not given.isdecimal():
        raise UsageError(f"WAIT is a number of seconds, such as 600, not {given}.")
    return int(given)
