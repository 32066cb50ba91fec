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
from xdist.scheduler import LoadScopeScheduling

from tools.servers import MariaDBServer, MySQLServer, PostgresServer, Server, ServerError

# Each of them serves all processes, so no test may change its settings or end it.
SERVERS: dict[str, Callable[[], Server]] = {
    "mariadb": MariaDBServer,
    # With the packet size that servers have by default.
    "small_mariadb": lambda: MariaDBServer(settings={"max-allowed-packet": "16M"}),
    "mysql": MySQLServer,
    "postgres": PostgresServer,
}
SLOWEST = 10
# About how long they take, so that the longest begin first: seconds of a test, or of the others of
# its file, in that of the two runs in which it is longer. Others take less than half a minute.
SECONDS = {
    "test_shop_is_built_and_green": 1000,  # a few; most of the other quick tests copy what it makes
    "test_random_rounds_on_duckdb": 200,
    "test_random_rounds_on_postgres": 180,
    "test_random_rounds_of_builds_of_what_changed": 150,
    "test_killed_at_random_moments": 150,
    "test_readers_of_the_file_during_builds": 100,
    "test_tests_pass": 160,
    "test_build": 490,
    "test_document_commands": 320,
    "test_next_versions": 310,
    "test_redshift_shim": 300,
    "test_roles": 230,
    "test_superset": 190,
    "test_airflow": 130,
    "test_dagster": 110,
    "test_timer": 40,
    "test_history_faults": 170,
    "test_publish_builds": 140,
    "test_redshift_offline": 130,
    "test_loader_cli": 120,
    "test_faults": 120,
    "test_history_limits": 120,
    "test_pages": 120,
    "test_parity": 90,
    "test_macros": 90,
    "test_primary_key": 40,
    "test_metrics": 70,
    "test_loader_changes": 70,
    "test_history": 60,
    "test_hours": 60,
    "test_loader_crashes": 60,
    "test_marts_follow": 200,
    "test_random_rounds_of_marts": 600,
    "test_killed_while_marts_follow": 900,
    "test_watch": 90,
    "test_watch_commits": 70,
    "test_watch_inside": 40,
    "test_watch_kept": 35,
    "test_watch_rounds": 240,
    "test_watch_outages": 80,
    "test_the_network_to_the_source_is_cut": 160,
    "test_watch_cascades": 70,
    "test_watch_warehouse": 130,
    "test_live_page": 70,
    "test_real_input": 60,
    "test_report": 50,
    "test_build_faults": 50,
    "test_runs": 100,
    "test_separate_users": 50,
    "test_build_output": 70,
    "test_redshift_loader": 40,
    "test_mutation": 40,
    "test_catalog": 40,
    "test_incidents": 300,
    "test_a_watch_tells_at_once": 210,
    "test_questions": 30,
}


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
        """What takes long begins first, so that all processes end together."""
        items.sort(key=lambda item: -SECONDS.get(together(item.nodeid)[1], 0))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """Deal out in that order what belongs together, to each process that has nothing left."""
        return ByTime(config, log) if config.getoption("dist") == "loadscope" else None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] += report.duration

    def pytest_unconfigure(self) -> None:
        for server in self._started.values():
            server.close()
        if self._seconds and not self._is_worker:
            print(slowest_line(self._seconds))


class ByTime(LoadScopeScheduling):  # type: ignore[misc]
    """Deals out the tests of a file together, for their fixtures; a long one by itself."""

    def _split_scope(self, nodeid: str) -> str:
        return "::".join(together(nodeid))


def together(nodeid: str) -> tuple[str, str]:
    """With which others one process runs a test: those of a file, or none; and its name there."""
    path, _, name = nodeid.partition("::")
    name = name.partition("[")[0]
    return (nodeid, name) if name in SECONDS else (path, Path(path).stem)


def slowest_line(seconds: dict[str, float]) -> str:
    """How long the slowest tests took, and which they are."""
    slowest = sorted(seconds.items(), key=lambda test: -test[1])[:SLOWEST]
    named = ", ".join(f"{name.rpartition('/')[2]} {took:.0f}" for name, took in slowest)
    return (
        f"The {len(slowest)} slowest of {len(seconds):,} tests took"
        f" {sum(took for _, took in slowest):.0f} s of {sum(seconds.values()):.0f} s: {named}"
    )
