"""The copy of a DuckDB warehouse on which a build works, so that readers see whole states only.

The copy lies beside the warehouse and has its name, which is also the database's: views hold it.
A green build replaces the file by the copy in one rename. Until then the file is locked as a reader
locks it: others can read it, and nobody can write what the rename would lose.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from loader import LoadError, UsageError
from loader.history import History
from loader.run_record import FAILED, SUCCEEDED
from pipeline.dbt_runner import close_connections
from pipeline.project import raw_schema, shown
from pipeline.steps import Steps
from pipeline.warehouse import DuckDB, Warehouse

FICLONE = 0x40049409  # the request by which Linux lets two files share their blocks
# A path that is not one of this machine's files, such as md:shop.
ELSEWHERE = re.compile(r"\w{2,}:")
CHUNK = 1 << 24
# How a system says that it cannot copy within the kernel, or not between these two files.
NOT_SUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV)
# Seconds to wait for another program that has the file open.
PATIENCE = 10.0
# What a build writes beside the copy: a part of it, at least so many bytes.
SHARE_WRITTEN, LEAST_WRITTEN = 0.25, 16 << 20


class CopyError(RuntimeError):
    """No copy can be made, or it cannot replace the warehouse; the text says what to do."""


class WorkingCopy:
    """What a build works on: a copy of a DuckDB file; any other warehouse itself.

    At the end of the `with` block a copy that was not published is set aside, to be looked at.
    """

    def __init__(self, warehouse: Warehouse, history: History | None = None) -> None:
        """`history` is written into a copy before it replaces the warehouse."""
        self.warehouse, self._history = warehouse, history
        self.failed: Path | None = None
        self._file: Path | None = None
        if isinstance(warehouse, DuckDB) and not ELSEWHERE.match(warehouse.place):
            self._file = Path(warehouse.place).resolve()
        self._copy: Path | None = None
        self.patience = PATIENCE
        self._lock = -1
        self._before: os.stat_result | None = None

    @property
    def is_made(self) -> bool:
        """Whether there is a copy, to publish or to set aside."""
        return self._copy is not None

    @property
    def label(self) -> str:
        """What a build made, for people: the warehouse, or the copy that failed."""
        if self.failed is None:
            return self.warehouse.label
        return (
            f"{self.warehouse.name}: {shown(self.failed)}, a build that failed;"
            f" {self.warehouse.place} is as it was before"
        )

    @property
    def remains(self) -> str:
        """How to look at a build that failed, as a sentence; empty without one."""
        if self.failed is None:
            return ""
        return f" What this build made is in {shown(self.failed)} until the next one."

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        close_connections()
        if self._copy is not None:
            with contextlib.suppress(OSError, CopyError):
                if isinstance(error, LoadError) and self._before is not None:
                    # All that a failed load wrote is the record of its failure.
                    self.publish(error)
                elif isinstance(error, (KeyboardInterrupt, LoadError)):
                    remove(self._copy)
                else:
                    self.set_aside()
        if self._lock >= 0:
            os.close(self._lock)

    def make(self, steps: Steps, *, stays: bool = False) -> Warehouse:
        """Copy the warehouse; returns it as the build has to use it. Raises CopyError.

        `stays`: a copy that was set aside is left there.
        """
        if not isinstance(self.warehouse, DuckDB):
            return self.warehouse
        if self._file is None:
            with steps.step("copy") as notes:
                notes.append(f"none: the build works on {self.warehouse.place} itself")
            return self.warehouse
        copy, failed = (
            self._file.with_name(f"{self._file.name}.{what}") / self._file.name
            for what in ("building", "failed")
        )
        try:
            remove(copy)
            if not stays:
                remove(failed)
            copy.parent.mkdir()
        except OSError as error:
            raise CopyError(
                f"A build works on a copy beside the warehouse {self._file}, and"
                f" {error.filename} is in the way or cannot be written ({error.strerror})."
            ) from None
        if self._file.exists():
            try:
                with steps.step("copy") as notes:
                    self._take_file()
                    notes.append(copied(self._lock, self._file, copy, steps.progress))
            except BaseException:
                remove(copy)
                raise
        self._copy = copy
        return self.warehouse.copied_to(copy)

    def _take_file(self) -> None:
        """Lock the file as DuckDB does for a reader, with nothing left in its log."""
        import duckdb  # only where there is such a file

        deadline = time.monotonic() + self.patience
        try:
            while not self._is_taken():
                if time.monotonic() > deadline:
                    raise CopyError(
                        f"The warehouse {self.warehouse.place} is open in another program"
                        f"{self._holder()}, which writes into it or keeps its log from being taken"
                        " in: close it there and build again."
                    )
                time.sleep(0.2)
        except (duckdb.Error, OSError) as error:
            said = " ".join(str(error).split())
            raise CopyError(
                f"The warehouse {self.warehouse.place} cannot be opened: {said}."
            ) from None

    def _is_taken(self) -> bool:
        import duckdb  # only where there is such a file

        assert self._file is not None
        log = log_of(self._file)
        if log.exists():
            # Left by a program that was killed: DuckDB would add it to whatever file comes there.
            try:
                duckdb.connect(str(self._file)).close()
            except duckdb.IOException as error:
                if "lock" not in str(error).lower():
                    raise
                return False
        descriptor = os.open(self._file, os.O_RDONLY)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            os.close(descriptor)
            return False
        if log.exists():
            os.close(descriptor)
            return False
        self._lock, self._before = descriptor, os.fstat(descriptor)
        return True

    def _holder(self) -> str:
        """The process that has the file open, as far as DuckDB names it."""
        import duckdb  # only where there is such a file

        try:
            duckdb.connect(str(self._file)).close()
        except duckdb.IOException as error:
            found = re.search(r"\(PID \d+\)", str(error))
            return f" {found[0]}" if found else ""
        return ""

    @property
    def is_of_a_file(self) -> bool:
        """Whether the copy is one of a warehouse that was there before."""
        return self._before is not None

    def publish(self, failure: LoadError | None = None) -> list[str]:
        """Replace the warehouse by the copy. Returns notes; raises CopyError.

        `failure`: that of the load, of which the copy has nothing but the record.
        """
        import duckdb  # only where there is such a file

        if self._copy is None or self._file is None:
            return []
        close_connections()
        is_closed = self._record(failure)
        notes = [f"{shown(self._file)} is what this build made"]
        try:
            if not is_closed:
                close_log(self._copy)
            if self._before is not None:
                notes += same_rights(self._before, self._copy, self._file)
                self._refuse_changed(self._before)
            elif self._file.exists():
                raise CopyError(f"{self._file} was made by another program during this build.")
            sync(self._copy)
            self._copy.replace(self._file)
            sync(self._file.parent)
        except (OSError, duckdb.Error) as error:
            said = error.strerror if isinstance(error, OSError) else error
            raise CopyError(f"{self._file} cannot be replaced by its copy: {said}.") from None
        if self._history:
            self._history.arrived()
        remove(self._copy)
        self._copy = None
        return notes

    def _record(self, failure: LoadError | None) -> bool:
        """Write into the copy how the run ended; whether its log is in the file then."""
        wrong = isinstance(failure, UsageError)  # a wrong command is no run
        if not self._history or not self._copy or wrong or not isinstance(self.warehouse, DuckDB):
            return False
        copy = self.warehouse.copied_to(self._copy).destination(raw_schema())
        outcome = FAILED if failure else SUCCEEDED
        done = self._history.carry(copy, outcome, str(failure or ""))
        return done and not log_of(self._copy).exists()

    def _refuse_changed(self, before: os.stat_result) -> None:
        """Raise CopyError where the warehouse is not the file that was copied."""
        assert self._file is not None
        try:
            now = self._file.stat()
        except FileNotFoundError:
            return  # somebody removed it: nothing is lost
        changed = [
            name
            for name in ("st_dev", "st_ino", "st_size", "st_mtime_ns")
            if getattr(before, name) != getattr(now, name)
        ]
        if changed or log_of(self._file).exists():
            raise CopyError(
                f"The warehouse {self.warehouse.place} was changed by another program while the"
                " build worked on a copy of it, and is left as that program wrote it: build again."
            )

    def discard(self) -> None:
        """Remove the copy."""
        if self._copy is not None:
            remove(self._copy)
            self._copy = None

    def set_aside(self) -> list[str]:
        """Leave the copy of a failed build to be looked at. Returns notes; raises OSError."""
        if self._copy is None or self._file is None:
            return []
        close_connections()
        folder = self._file.with_name(f"{self._file.name}.failed")
        self._copy.parent.replace(folder)
        self.failed = folder / self._copy.name
        self._copy = None
        return [f"not done: {shown(self._file)} is as it was before this build"]


def copied(source: int, file: Path, copy: Path, progress: Callable[[str], None]) -> str:
    """Copy an open file, sharing its blocks where the file system can; returns how.

    The file is not opened again: to close it would give up its lock. Raises CopyError.
    """
    size = os.fstat(source).st_size
    try:
        with copy.open("wb") as target:
            shared = is_cloned(source, target.fileno())
            needed = max(int(size * SHARE_WRITTEN), LEAST_WRITTEN) + (0 if shared else size)
            free = shutil.disk_usage(copy.parent).free
            if free < needed:
                raise CopyError(
                    f"A build needs {megabytes(needed)} beside the warehouse {file}, for a copy of"
                    f" it and for what it writes, but {file.parent} has {megabytes(free)} free."
                )
            done = size if shared else 0
            while done < size:
                done += copy_some(source, target.fileno(), done)
                progress(f"copy  {megabytes(done)} of {megabytes(size)}")
    except OSError as error:
        raise CopyError(
            f"The warehouse {file} cannot be copied into {copy.parent}: {error.strerror}."
        ) from None
    return f"{shown(copy)}, {megabytes(size)}{', sharing its blocks' if shared else ''}"


def copy_some(source: int, target: int, done: int) -> int:
    """Copy the next bytes of a file to the same place in another; returns how many."""
    try:
        # Within the kernel: a sixth of the processor time.
        sent = os.copy_file_range(source, target, CHUNK, done, done)
    except (AttributeError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in NOT_SUPPORTED:
            raise
        sent = os.pwrite(target, os.pread(source, CHUNK, done), done)
    if not sent:
        raise OSError(errno.EIO, "the file became shorter")
    return sent


def is_cloned(source: int, target: int) -> bool:
    """Let a new file share the blocks of another, where the file system can."""
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError:
        return False
    return True


def megabytes(size: int) -> str:
    """A size for people."""
    return f"{size / 1e6:,.1f} MB"


def log_of(file: Path) -> Path:
    """The log of a DuckDB file: what was committed and is not in the file yet."""
    return file.with_name(f"{file.name}.wal")


def close_log(file: Path) -> None:
    """Bring everything into the file itself. Raises duckdb.Error, OSError."""
    import duckdb

    with duckdb.connect(str(file)) as connection:
        connection.execute("force checkpoint")
    log = log_of(file)
    if log.exists() and log.stat().st_size:
        raise OSError(errno.EBUSY, f"{log.name} is not empty")


def same_rights(before: os.stat_result, copy: Path, file: Path) -> list[str]:
    """Give the copy the rights and the owner of the file. Returns what could not be done."""
    notes = []
    shutil.copystat(file, copy)
    os.utime(copy)
    if before.st_nlink > 1:
        notes.append(f"WARNING: {file} has another name (a hard link), which stays as it was")
    made = copy.stat()
    if (made.st_uid, made.st_gid) != (before.st_uid, before.st_gid):
        try:
            os.chown(copy, before.st_uid, before.st_gid)
        except PermissionError:
            notes.append(f"WARNING: {file} belongs to the user of this build now")
            with contextlib.suppress(PermissionError):
                os.chown(copy, -1, before.st_gid)
    return notes


def sync(path: Path) -> None:
    """Wait until a file or folder is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(copy: Path) -> None:
    """Remove a copy with all that DuckDB and the loader put beside it, and its folder."""
    folder = copy.parent
    for path in folder.glob("*"):
        if path.name.startswith(copy.name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with contextlib.suppress(FileNotFoundError):
        folder.rmdir()
