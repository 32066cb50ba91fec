"""Follow a shop into the raw schema, second by second, until it is stopped.

python -m loader watch            follow the source's log, or compare it every few seconds
python -m loader watch status     how the watch is (--json for programs)
python -m loader watch unwatch    forget the position, and drop what the source keeps for the watch
"""

import argparse
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ..cli import DONE, FAILED, USAGE, destination_of, options_of, parser_of
from ..config import find_config
from ..destinations import Destination, Kept
from ..errors import BusyError, LoadError, UsageError
from ..history import History, recorded
from ..lock import BUSY, holding
from ..part import place_of
from ..run_record import NodeRun, RunRecord
from ..sources import MODULES
from ..urls import parse_url, with_password
from .board import Board, FileBoard, TableBoard, board_of
from .log import Log
from .poll import PollLog
from .postgres_rights import slot_name
from .request import COMMAND, Follower, Watch
from .status import Figures, is_alive, shown
from .watcher import Watcher

# From the options and the way to say something: what follows, and how to open the warehouse.
Follow = Callable[
    [argparse.Namespace, Callable[[str], None]], tuple[Follower, Callable[[], Destination]]
]
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
# Seconds that a stopped watch has to end at a whole state.
GRACE = 4.0


def main(arguments: Sequence[str], follow: Follow | None = None) -> int:
    """Run one of the commands; returns the exit code.

    `follow` makes what follows the raw tables, from the options and the way to say something. It
    also says where the warehouse is.
    """
    given = _parser(is_followed=follow is not None).parse_args(arguments)
    say = _say_json if given.log_format == "json" else _say
    try:
        config = find_config(given.config)
        follower: Follower | None = None
        opened: Callable[[], Destination] = partial(destination_of, given, config)
        if follow is not None and given.command == "follow":
            follower, opened = follow(given, say)
        destination = opened()
        board = board_of(destination)
        if given.command == "status":
            return _status(board, as_json=given.json)
        url = with_password(given.source or config.source or "")
        if not url:
            raise UsageError("No source: give --source URL, or set SOURCE in the environment.")
        with holding(board.lock(), destination.description, COMMAND, say):
            if given.command == "unwatch":
                return _unwatch(url, destination, board, say)
            options = options_of(given, config.options)
            opened, kept = _keeping_open(opened, destination)
            watch = Watch(url, opened, options, say, follower=follower, kept=kept)
            command = "make watch" if follower else COMMAND
            history = History(opened(), lambda text: say(f"watch: {text}"), config.keep_runs)
            with recorded(history, command) as run:
                return _watch(watch, given, board, run)
    except BusyError as error:
        say(f"watch: {error}")
        return BUSY
    except UsageError as error:
        say(f"watch: {error}")
        return USAGE
    except LoadError as error:
        say(f"watch: {error}")
        return FAILED


def _keeping_open(
    opened: Callable[[], Destination], destination: Destination
) -> tuple[Callable[[], Destination], Kept | None]:
    """How to open the warehouse, and its file, if that is to stay open between batches."""
    if destination.kept or not isinstance(board_of(destination), FileBoard):
        return opened, destination.kept
    # With the driver, which only this warehouse needs.
    from ..destinations.duckdb import DuckDBDestination
    from ..destinations.duckdb_kept import KeptFile

    assert isinstance(destination, DuckDBDestination)
    kept = KeptFile(destination.path, destination.place)

    def opened_with_it() -> Destination:
        found = opened()
        found.kept = kept
        return found

    return opened_with_it, kept


def _watch(watch: Watch, given: argparse.Namespace, board: Board, run: RunRecord) -> int:
    url, say = watch.source_url, watch.say
    log, mode, reason = _log(url, given, board)
    say(f"watch: {mode}: {reason}")
    commit_times = names_of(given.commit_times)
    if mode == "poll":
        _say_what_is_kept(url, board, say)
        if commit_times:
            say(
                f"watch: when rows of {', '.join(commit_times)} were committed is not stored: only"
                " a log tells it"
            )
            commit_times = ()
    figures = Figures(str(parse_url(url)), watch.open_destination().description, mode, reason)
    # Without a log, each comparison is one of all tables.
    watch.audit = 0.0 if mode == "poll" else seconds_of(given.audit)
    watch.every = seconds_of(given.every)
    if given.copy is None:
        given.copy = "30s" if watch.follower and isinstance(board, FileBoard) else "0"
    watch.copy = seconds_of(given.copy)
    watch.commit_times = commit_times
    if watch.copy and isinstance(board, TableBoard):
        board.copy()
    _end_on_signals(watch.stop, say)
    try:
        Watcher(watch, log, board, figures).run()
    finally:
        # Not each batch, of which there may be one a second.
        run.row_count = figures.rows
        text = f"{figures.batches:,} batches; {figures.last_error or 'no error'}"
        run.add([NodeRun("batches", "watch", "success", rows=figures.rows, message=text)])
    say("watch: stopped; what was published is whole, and the next watch reads on from there.")
    return DONE


def _say_what_is_kept(url: str, board: Board, say: Any) -> None:
    """A watch that followed the log before has left a slot, which nobody reads any more."""
    if MODULES.get(parse_url(url).scheme) != "postgres":
        return
    from .postgres import PostgresLog

    for name in dict.fromkeys((board.name(), board.former_name())):
        log = PostgresLog(url, name)
        if (kept := log.kept()) is not None:
            say(
                f"watch: the slot {log.slot} is still there, and the server keeps {kept:,} bytes of"
                f" log for it: {_to_drop(log, board)}"
            )


def _to_drop(log: Any, board: Board) -> str:
    """How somebody gets rid of a slot."""
    if log.slot == slot_name(board.name()):
        return "watch unwatch drops it"
    return (
        f"if no other warehouse uses it, select pg_drop_replication_slot('{log.slot}') on the"
        " source drops it"
    )


def _log(url: str, given: argparse.Namespace, board: Board) -> tuple[Log, str, str]:
    """How to hear of changes, its name, and why."""
    every = seconds_of(given.every)
    parsed = parse_url(url)
    module = MODULES.get(parsed.scheme)
    why = ""
    if given.way == "poll":
        why = "asked for"
    elif module == "mysql":
        from .mysql import MySQLLog
        from .mysql_rights import why_not

        why, unchecked = why_not(url)
        if not why:
            return MySQLLog(url), "log", f"it follows the binary log of the server{unchecked}"
    elif module == "postgres":
        from .postgres import PostgresLog
        from .postgres_rights import why_not as why_not_postgres

        why = why_not_postgres(url)
        if not why:
            log = PostgresLog(url, board.name())
            return log, "log", f"it follows the server's log through the slot {log.slot}"
    else:
        why = "a file has no log"
    if given.way == "log":
        raise UsageError(f"--mode log is not possible: {why}.")
    return PollLog(url, every), "poll", f"compares all tables every {every:g} s, because: {why}"


def _end_on_signals(stop: threading.Event, say: Callable[[str], None]) -> None:
    """End at a whole state: after the batch, or in the middle of one that takes too long."""

    def give_up() -> None:
        # What a killed batch wrote is not committed, so the state is whole then too.
        say(
            f"watch: stopped in the middle of a batch, which had not ended after {GRACE:g} s;"
            " nothing of it is kept, and the next watch reads it again."
        )
        os._exit(DONE)

    def end(*_: object) -> None:
        if not stop.is_set():
            stop.set()
            timer = threading.Timer(GRACE, give_up)
            timer.daemon = True
            timer.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


def _status(board: Board, *, as_json: bool) -> int:
    status = board.read()
    if status is None:
        print("{}" if as_json else "watch: nothing has been watched into this warehouse.")
        return FAILED
    if as_json:
        print(json.dumps(status | {"alive": is_alive(status)}))
    else:
        print(shown(status))
    return DONE if is_alive(status) else FAILED


def _unwatch(url: str, destination: Destination, board: Board, say: Any) -> int:
    place = place_of(parse_url(url))
    dropped = ""
    with destination.alone(f"{COMMAND} unwatch", say):
        try:
            destination.open()
            saved = destination.position(place)
            if MODULES.get(parse_url(url).scheme) == "postgres":
                dropped = _drop_slot(url, board, saved)
            if destination.columns("_load_position"):
                destination.begin_publish()
                destination.save_position(place, None)
                destination.commit([])
        finally:
            destination.close()
    board.remove()
    say(f"watch: the position is forgotten{dropped}; the next watch compares all tables first.")
    return DONE


def _drop_slot(url: str, board: Board, saved: str | None) -> str:
    from .postgres import PostgresLog

    log = PostgresLog(url, board.name())
    place = json.loads(saved)["log"] if saved else None
    if place:
        log.slot = place[1]
    return f", and the slot {log.slot} is dropped" if log.drop() else ""


def seconds_of(text: str) -> float:
    """A time such as 30s or 15m, in seconds. Raises UsageError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if found is None:
        raise UsageError(f"{text} is not a time: write 30s, 15m or 1h.")
    return float(found[1]) * UNITS[found[2]]


def names_of(text: str) -> tuple[str, ...]:
    """Names with commas between them, as raw tables are called."""
    return tuple(name.strip().lower() for name in text.split(",") if name.strip())


def _parser(*, is_followed: bool) -> argparse.ArgumentParser:
    parser = parser_of("make watch" if is_followed else "python -m loader watch", __doc__ or "")
    parser.add_argument(
        "command",
        nargs="?",
        choices=("follow", "status", "unwatch"),
        default="follow",
        help="what to do [follow]",
    )
    how = parser.add_argument_group("how it is watched")
    how.add_argument(
        "--mode",
        dest="way",
        choices=("log", "poll"),
        help="follow the log, or compare by digests [the log, where it can be read]",
    )
    how.add_argument(
        "--every", default="10s", metavar="TIME", help="how often it compares without a log [10s]"
    )
    how.add_argument(
        "--audit",
        default="15m",
        metavar="TIME",
        help="how often all tables are compared beside the log; 0 for never [15m]",
    )
    how.add_argument(
        "--copy",
        metavar="TIME",
        help="how often readers get a copy of the DuckDB file, in a folder beside it"
        f" [{'30s' if is_followed else 'never'}]",
    )
    how.add_argument(
        "--commit-times",
        default="",
        metavar="TABLES",
        help="of which tables to store when a new row was committed, as the log tells it [none]",
    )
    if is_followed:
        how.add_argument(
            "--slow", default="5m", metavar="TIME", help="how often the slow marts are built [5m]"
        )
        how.add_argument(
            "--page", default="8090", metavar="PORT", help="where the live page is; or none [8090]"
        )
        how.add_argument(
            "--host",
            default="127.0.0.1",
            metavar="ADDRESS",
            help="the address of this machine that serves the page [127.0.0.1: this machine only]",
        )
    how.add_argument("--json", action="store_true", help="status as JSON")
    parser.set_defaults(mode=None, policy=None, full_refresh=False, strict=False)
    parser.set_defaults(max_delete_share=None)
    return parser


def _say(text: str) -> None:
    moment = datetime.now(UTC).strftime("%H:%M:%S")
    print(f"{moment} {text}", file=sys.stderr, flush=True)


def _say_json(text: str) -> None:
    moment = datetime.now(UTC).isoformat(timespec="milliseconds")
    message = {"at": moment, "message": text.removeprefix("watch: ")}
    print(json.dumps(message), file=sys.stderr, flush=True)
