"""What `make watch` runs: raw tables that follow a shop's log, and marts that follow them.

    python scripts/watch.py              build once, then follow
    python scripts/watch.py --raw-only   the raw tables alone
    python scripts/watch.py status       how the watch is (--json for programs)
    python scripts/watch.py unwatch      forget the position, and drop what the source keeps for it

SOURCE, TARGET, DUCKDB_PATH and the libpq variables name the shop and the warehouse, as for
make build; all other options are those of python -m loader watch.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

from loader.cli import USAGE
from loader.config import find_config
from loader.destinations import Destination
from loader.errors import LoadError, UsageError
from loader.lock import BUSY
from loader.watch import cli
from loader.watch.board import board_of
from pages.live import LivePage
from pipeline.following import Following
from pipeline.live_page import ShownMarts
from pipeline.project import PROJECT, raw_schema
from pipeline.settings import BuildError, given_settings
from pipeline.shop import SAMPLE_URL
from pipeline.target import chosen_warehouse
from pipeline.warehouse import ProfileError
from pipeline.warm_marts import TOLD_BY
from pipeline.watch_telling import WatchTelling

# Options of a load that make build would not know of: where the warehouse is, and what is loaded.
OTHERS = (
    *("--target", "--duckdb-path", "--raw-schema", "--config", "--select", "--exclude"),
    *("--exclude-columns", "--hash-columns", "--require"),
)
# What the models read must be there, and when orders were committed they show by the hour.
OPTIONS = ("--require", "models/", "--commit-times", "orders")
# Seconds to wait for another run, such as a build of a watch that was killed, where WAIT is unset.
PATIENCE = "600"


def main(arguments: Sequence[str]) -> int:
    """Run one of the commands; returns the exit code."""
    os.chdir(PROJECT)
    given = list(arguments)
    if given[:1] in (["status"], ["unwatch"]):
        return cli.main(given)
    if "--raw-only" in given:
        given.remove("--raw-only")
        return cli.main([*OPTIONS, *given])
    if found := next((a for a in (o.partition("=")[0] for o in given) if a in OTHERS), ""):
        print(
            f"watch: {found} is not an option of make watch, because make build has to do the same:"
            " TARGET, DUCKDB_PATH and the PG variables say where the warehouse is, and loader.yml"
            " says what is loaded. With --raw-only it is an option.",
            file=sys.stderr,
        )
        return USAGE
    return cli.main([*OPTIONS, *given], follow)


def follow(
    given: argparse.Namespace, say: Callable[[str], None]
) -> tuple[ShownMarts, Callable[[], Destination]]:
    """The marts that follow, and how to open their warehouse. Raises UsageError, LoadError."""
    if (os.environ.get("TARGET") or find_config().target) == "redshift":
        raise UsageError(
            "make watch writes into duckdb and postgres: load into Redshift with make build."
        )
    try:
        settings, warehouse = given_settings(), chosen_warehouse().kept_open()
    except (BuildError, ProfileError) as error:
        raise UsageError(str(error)) from None
    board_of(warehouse.destination(raw_schema()))  # refuses what cannot be watched into
    if given.source:
        os.environ["SOURCE"] = given.source
    elif not settings.config.source:
        given.source = SAMPLE_URL  # which the first build makes, as make build does

    def build(stop: threading.Event) -> bool:
        return complete_build(stop, say)

    following = Following(warehouse, settings, cli.seconds_of(given.slow), say, build)
    page = None
    if given.page != "none":
        page = LivePage(given.host, port_of(given.page), lambda text: say(f"watch: {text}"))
    telling = WatchTelling(warehouse, settings, say)
    shown = ShownMarts(following, warehouse, page, say, telling)
    return shown, lambda: warehouse.destination(raw_schema())


def port_of(text: str) -> int:
    """A port. Raises UsageError."""
    if not text.isdecimal() or int(text) > 65535:
        raise UsageError(f"--page {text} is not a port: write a number up to 65535, or none.")
    return int(text)


def complete_build(stop: threading.Event, say: Callable[[str], None]) -> bool:
    """Run make build as a process of its own, whose words are shown; whether it was green."""
    known = {name: value for name, value in os.environ.items() if name not in TOLD_BY}
    environment = {"WAIT": PATIENCE, **known}
    command = [sys.executable, str(PROJECT / "scripts" / "build.py")]
    try:
        build = subprocess.Popen(command, env=environment)
    except OSError as error:
        raise LoadError(f"make build cannot be started: {error.strerror}.") from None
    while True:
        try:
            code = build.wait(0.1)
            break
        except subprocess.TimeoutExpired:
            if stop.is_set():
                build.terminate()
    if code == BUSY:
        say("watch: the marts are not built: another run is writing into the warehouse")
    if code < 0:
        say(f"watch: make build was ended by signal {-code}: by a person, or for want of memory")
    return code == 0
