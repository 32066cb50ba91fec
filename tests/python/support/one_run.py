"""One run of the tests in several processes: servers for all of them, and which tests were slow."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.servers import MariaDBServer, PostgresServer, Server, ServerError

# Each of them serves all processes, so no test may change its settings or end it.
SERVERS: dict[str, Callable[[], Server]] = {
    "mariadb": MariaDBServer,
    # With the packet size that servers have by default.
    "small_mariadb": lambda: MariaDBServer(settings={"max-allowed-packet": "16M"}),
    "postgres": PostgresServer,
}
SLOWEST = 10
# Folders of tests that have no fixture of many seconds.
QUICK = ("loader", "shop", "unit")
# What most of the other tests copy.
BUILT = "test_built.py"


def own(name: str) -> str:
    """A database name that no other process of the run uses."""
    return f"{name}{os.environ.get('PYTEST_XDIST_WORKER', '')}"


def share(folder: Path) -> None:
    """Say where processes of this run put what they make for each other."""
    global _shared
    _shared = folder


_shared: Path | None = None


def once(name: str, make: Callable[[Path], None]) -> Path:
    """A folder that `make` fills, once for all processes of the run; a failure is everybody's."""
    assert _shared, "the session's fixtures have not run"
    folder, done, failed = (_shared / f"{name}{end}" for end in ("", ".done", ".failed"))
    with _lock(_shared / f"{name}.lock"):
        if failed.exists():
            pytest.fail(f"{name} was not made: {failed.read_text('utf-8')}", pytrace=False)
        if not done.exists():
            # Left by a process that was killed.
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            try:
                make(folder)
            except (Exception, pytest.fail.Exception) as error:
                failed.write_text(f"{type(error).__name__}: {error}", "utf-8")
                raise
            done.touch()
    return folder


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed, also by the process's death
        yield


class OneRun:
    """A pytest plugin. The servers start with the first worker and end with the run."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._is_worker = hasattr(config, "workerinput")
        self._started: dict[str, Server] = {}
        self._seconds: dict[str, float] = defaultdict(float)
        if not self._is_worker:
            # SIGTERM ends the run as Ctrl-C does: fixtures and servers are closed.
            signal.signal(signal.SIGTERM, signal.default_int_handler)

    @contextlib.contextmanager
    def server(self, name: str) -> Any:
        """The server of that name: the run's, or one of this process where it is alone."""
        make = SERVERS[name]
        if not self._is_worker:
            with make() as server:
                yield server
            return
        folder, port = self._config.workerinput["servers"][name]  # type: ignore[attr-defined]
        yield type(make()).attach(Path(folder), port)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        if not self._started:
            self._started = {name: make() for name, make in SERVERS.items()}
            for server in self._started.values():
                # What is not installed is reported by the tests that need it.
                with contextlib.suppress(ServerError):
                    server.start()
        node.workerinput["servers"] = {
            name: (str(server.folder), server.port)
            for name, server in self._started.items()
            if server.pid
        }

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Give each process as many tests, first those that take long, or whose fixtures do.

        A process does not give away its last test, so the longest ones are dealt out first. At the
        end, when one process takes tests of another, they are those that need little.
        """
        workers = self._config.workerinput["workercount"] if self._is_worker else 1  # type: ignore[attr-defined]
        longest = sorted(filter(minutes, items), key=minutes, reverse=True)
        longest += [item for item in items if item.path.name == BUILT]
        others = [item for item in items if item not in longest]
        modules = sorted({item.path for item in others if item.path.parent.name not in QUICK})
        mine = {path: number % workers for number, path in enumerate(modules)}
        first = [
            longest[number::workers] + [i for i in others if mine.get(i.path) == number]
            for number in range(workers)
        ]
        rest = [item for item in others if item.path not in mine]
        share = -(-len(items) // workers)
        ordered = []
        for slow in first:
            room = max(0, share - len(slow))
            ordered += slow + rest[:room]
            rest = rest[room:]
        items[:] = ordered + rest

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] += report.duration

    def pytest_unconfigure(self) -> None:
        for server in self._started.values():
            server.close()
        if self._seconds and not self._is_worker:
            print(slowest_line(self._seconds))


def minutes(item: pytest.Item) -> int:
    """About how long a test takes: what its marker `long(minutes=...)` says, or 0."""
    marker = item.get_closest_marker("long")
    return int(marker.kwargs.get("minutes", 0)) if marker else 0


def slowest_line(seconds: dict[str, float]) -> str:
    """How long the slowest tests took, and which they are."""
    slowest = sorted(seconds.items(), key=lambda test: -test[1])[:SLOWEST]
    named = ", ".join(f"{name.rpartition('/')[2]} {took:.0f}" for name, took in slowest)
    return (
        f"The {len(slowest)} slowest of {len(seconds):,} tests took"
        f" {sum(took for _, took in slowest):.0f} s of {sum(seconds.values()):.0f} s: {named}"
    )
