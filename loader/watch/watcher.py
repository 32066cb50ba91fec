"""The watch: hear what changed, read it in one snapshot, publish it with the position."""

import json
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import psycopg
import pymysql

from ..answering import answering
from ..destinations import Destination
from ..errors import BusyError, LoadError, UsageError
from ..lock import this_run
from ..part import KeysDifferError, Part, place_of, stored_position
from ..result import LoadResult
from ..run import load
from ..selection import chosen_tables
from ..sources import Source
from ..urls import parse_url
from .after import After
from .board import Board
from .changes import Heard, LogLostError, Place, shown
from .log import Log, timed
from .poll import POLLED
from .request import COMMAND, Watch
from .saying import Once
from .status import Figures
from .turns import GAP, Turns

# Seconds after which a position is stored although nothing changed, so that no log piles up.
IDLE_SAVE = 60.0
# Seconds between two words about how it is.
STATUS_EVERY = 2.0
# Seconds between two looks at the source's tables, where the log does not tell of statements.
LOOK_EVERY = 2.0
# Seconds before the next attempt after an error: the first time, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
# Seconds without anything new from the log, after which it is dead.
PATIENCE = 60.0


class Watcher:
    """Follows one source's log into one warehouse until it is stopped."""

    def __init__(self, watch: Watch, log: Log, board: Board, figures: Figures) -> None:
        self._watch, self._log, self._board, self.figures = watch, log, board, figures
        self._say = watch.say
        self._place_name = place_of(parse_url(watch.source_url))
        # What was heard and is to be read; and what no snapshot has shown yet.
        self._pending, self._rest = Heard(), list[Heard]()
        # The position in the warehouse.
        self._published: Place | None = None
        # The stored position leads nowhere.
        self._forget = False
        # Raw tables whose rows are matched by their key; and those whose commits' times are wanted.
        self._keyed, self._timed = dict[str, bool](), tuple[str, ...]()
        # Their live rows, as of the run that began then.
        self._live, self._as_of = dict[str, int](), datetime.min
        self._saved_at = self._audited_at = self._looked_at = self._compared_at = 0.0
        self._telling = threading.Lock()
        self._turns, self._once = Turns(watch.stop, watch.kept), Once(watch.say)
        self._after = After(watch, board, figures, self._once)
        self._pause, self._last_error = FIRST_PAUSE, ""

    def run(self) -> None:
        """Until `stop` is set. Raises UsageError, which no second attempt would help."""
        ended = threading.Event()
        threading.Thread(target=self._keep_telling, args=[ended], daemon=True).start()
        try:
            self._after.begin()
            self._follow()
        finally:
            ended.set()
            self._turns.let_go()
            try:
                self._log.close()
                self._tell(running=False)
            finally:
                self._after.end()

    def _keep_telling(self, ended: threading.Event) -> None:
        """In a thread of its own: a batch may take longer than a dead watch is silent."""
        while not ended.wait(STATUS_EVERY):
            self._tell(unless=ended)

    def _follow(self) -> None:
        connected = False
        while not self._watch.stop.is_set():
            try:
                if not connected:
                    self._connect()
                    connected = True
                self._step()
                if self._last_error and not self._pending.says_something:
                    self._say("watch: it goes on")
                    self._last_error = ""
                if not self._pending.says_something:
                    self._pause = FIRST_PAUSE
            except BusyError as error:
                self._trouble(error, quiet=True)
            except UsageError:
                raise
            except KeysDifferError as error:
                # The log did not tell all: the table is compared at once.
                why = f"{error}, so the table is compared as a whole"
                self._say(f"watch: {why}")
                self._pending.whole(error.table, "its log did not tell everything", told=False)
            except LogLostError as error:
                connected = False
                self._lost(str(error))
            except LoadError as error:
                self._trouble(error)
                connected = connected and not self._log.channel.has_ended
            except (psycopg.Error, pymysql.MySQLError, OSError) as error:
                text = " ".join(str(error).split())
                self._trouble(LoadError(f"The connection to the log was lost: {text}."))
                connected = False

    def _trouble(self, error: LoadError, *, quiet: bool = False) -> None:
        """Say what happened, once, and wait before the next attempt."""
        if self._watch.stop.is_set():
            return
        # The same has other numbers the next time: a file that cannot grow, a process, a port.
        alike = re.sub(r"\d+", "", str(error))
        if alike != self._last_error:
            self._say(f"watch: {error} It tries again.")
        self._last_error = alike
        self.figures.failed(str(error))
        self._tell()
        self._turns.let_go()
        self._watch.stop.wait(GAP if quiet else self._pause)
        if not quiet:
            self._pause = min(LONGEST_PAUSE, self._pause * 2)

    def _connect(self) -> None:
        """Read on from the stored position; without one, load everything first."""
        self._pending, self._rest = Heard(), []
        self._board.keep()
        with self._watch.alone() as destination:
            saved = None if self._forget else stored_position(destination, self._place_name)
            self._learn()
        if saved is None and self._log.beginning:
            self._say(f"watch: {self._log.beginning}")
        self._log.start(saved and saved["log"])
        self._audited_at = self._saved_at = time.monotonic()
        if saved is None:
            self._pending.everything = (
                "the log was lost" if self._forget else "no position is stored yet"
            )
            # What changed between the look at the tables and the log's begin is not in it.
            self._pending.reshaped = True
        else:
            self._keyed = dict(saved["keyed"])
            self._published = self._pending.place = tuple(saved["log"])
            self._pending.add(self._log.changed(saved.get("marks", {})))
            self._say(f"watch: it reads on from {shown(self._published)}")

    def _learn(self, snapshot: Source | None = None) -> None:
        """Look at the source's tables, so that keys in the log can be read."""
        destination, source = self._watch.open_destination(), snapshot or self._log.snapshot()
        try:
            with answering(destination.greet, destination.abort):
                destination.open()
                tables, _, _ = chosen_tables(
                    source, self._watch.options, destination, destination.schemas()
                )
            self._log.learn(source, tables)
        finally:
            destination.close()
            if snapshot is None:
                source.close()
        self._timed, untimed = timed(self._watch.commit_times, self._log)
        for text in untimed:
            self._once(f"watch: {text}")
        for table, why in sorted(self._log.unheard().items()):
            self._once(f"watch: {table} is compared as a whole when it changes: {why}")
        for table, why in sorted(self._log.silent().items()):
            self._once(
                f"watch: {table} is compared as a whole every {self._watch.every:g} s: {why}"
            )

    def _lost(self, why: str) -> None:
        """The log cannot be read on: everything is compared, from a new place on."""
        self._say(f"watch: {why}, so all tables are compared and the watch goes on from now")
        self.figures.failed(why)
        self._log.close()
        self._pending, self._rest = Heard(), []
        self._forget = True

    def _step(self) -> None:
        """Hear something, and read what was heard."""
        if not self._pending.says_something:
            heard = self._rest.pop(0) if self._rest else self._turns.listen(self._log.channel)
            if heard is not None and heard.says_something:
                self._rest.insert(0, heard)
                self._batch()
            elif heard is not None:
                self._pending.place = heard.place
        else:
            self._batch()
        now = time.monotonic()
        idle_place = self._pending.place
        if self._watch.audit and now - self._audited_at > self._watch.audit:
            self._batch(audit=True)
        elif now - self._saved_at > IDLE_SAVE and idle_place != self._published:
            self._batch()
        self._look(now)
        busy = bool(self._rest) or not self._log.channel.is_empty or self._pending.says_something
        if self._after.is_due(busy=busy):
            self._turns.give_way()
            self._after.work(busy=busy)
            self._turns.ended()
            self._tell()
        if self._after.copy_is_due:
            with self._watch.alone():
                self._after.copy()

    def _look(self, now: float) -> None:
        """Look for changes that no log tells, as often as they are worth it."""
        silent = self._log.silent()
        if silent and now - self._compared_at > self._watch.every:
            self._compared_at = now
            for table in silent:
                self._pending.whole(table, "", told=False)
        if self._log.looks and now - self._looked_at > LOOK_EVERY:
            self._looked_at = now
            source = self._log.snapshot()
            try:
                self._pending.add(self._log.reshaped(source))
            finally:
                source.close()

    def _batch(self, *, audit: bool = False) -> None:
        """Read and publish what was heard, up to one snapshot."""
        self._turns.give_way()
        self._board.keep()
        with self._watch.alone() as destination:
            self._after.batch(self._publish(destination, audit=audit), self._published)
            self._tell()
            self._after.copy()
        self._turns.ended()
        self._pause = FIRST_PAUSE

    def _catch_up(self) -> None:
        """Hear everything that the snapshot shows, and put the rest aside."""
        waiting, self._rest = self._rest, []
        moved, place = time.monotonic(), self._pending.place
        while True:
            while waiting:
                heard = waiting.pop(0)
                place = heard.place or place
                if self._log.shows(heard):
                    # A place behind one that is not shown counts not: it will be heard again.
                    shown_here = replace(heard, place=None) if self._rest else heard
                    self._pending.add(shown_here, self._timed)
                else:
                    self._rest.append(heard)
            if self._log.ends(place):
                return
            # What has come first: each question to the source costs more than a short transaction.
            found = self._log.channel.get(0.0)
            if found is None:
                self._log.ask()
                found = self._log.channel.get(1.0)
            if found is not None:
                waiting.append(found)
                if found.place != place:
                    moved = time.monotonic()
            if self._watch.stop.is_set():
                raise LoadError("The watch was stopped.")
            # A long backlog may take its time, as long as something comes.
            if time.monotonic() - max(moved, self._log.heard_at()) > PATIENCE:
                self._log.close()
                raise LoadError(
                    "The connection to the log seems to be dead: it does not say what the source"
                    " has."
                )

    def _publish(self, destination: Destination, *, audit: bool = False) -> float:
        """Take a snapshot, hear what it shows, read that and publish it with its place.

        Returns when the newest change was committed, as far as the log says so.

        The caller has the lock: else an older state could follow a newer one. `audit`: then compare
        all tables with the same snapshot, in which nothing is left that was not heard of.
        """
        started = time.monotonic()
        source = self._log.snapshot()
        result = found = None
        try:
            self._catch_up()
            # A busy source may not have said a place before the snapshot: then from the beginning.
            self._pending.place = self._pending.place or self._log.begun_at()
            self._pending.add(self._log.reshaped(source))
            if self._pending.reshaped:
                self._learn(source)
            if not audit or self._pending.says_something:
                result = self._load(source, destination, is_read_again=audit)
            if audit:
                found = self._load(source, destination, everything=True)
        finally:
            source.close()
        done, self._pending = self._pending, Heard(place=self._pending.place)
        self._published, self._saved_at, self._forget = done.place, time.monotonic(), False
        if done.place is not None:
            self._log.confirm(done.place)
        if result is not None and done.everything and done.everything != POLLED:
            rows = sum(entry.changes.live for entry in result.tables)
            self._say(f"watch: {len(result.tables)} tables with {rows:,} rows are as the source")
        if result is not None and done.says_something:
            self.figures.batch(result, done, time.monotonic() - started)
        if found is not None:
            self._judge(found)
        self._tell()
        return done.newest_at

    def _load(
        self,
        source: Source,
        destination: Destination,
        *,
        everything: bool = False,
        is_read_again: bool = False,
    ) -> LoadResult:
        part = replace(self._part(source, everything=everything), is_read_again=is_read_again)
        if part.is_small and not self._pending.reshaped:
            destination = destination.for_batch()
        result = load(self._watch.source_url, destination, self._watch.options, part=part)
        self._keyed |= {entry.table.raw_name: entry.keyed for entry in result.tables}
        if result.follows != self._as_of:
            # Another run came between: it may have changed tables that this one did not read.
            self._live.clear()
        self._live |= {entry.table.raw_name: entry.changes.live for entry in result.tables}
        if result.tables:
            self._as_of = result.started_at
        for warning in result.warnings:
            self._once(f"watch: {warning}")
        return result

    def _part(self, source: Source, *, everything: bool) -> Part:
        """What of the snapshot is read."""
        pending = self._pending
        tables: dict[str, Any] | None = {
            table: keys if self._keyed.get(table) else None
            for table, keys in pending.tables.items()
        }
        if everything or pending.everything:
            tables = None
        if pending.everything and not everything and pending.everything != POLLED:
            self._say(f"watch: all tables are compared: {pending.everything}")
        else:
            for table, why in pending.reasons.items():
                if why and table not in self._log.unheard():
                    self._once(f"watch: {table} is compared as a whole: {why}")

        def position(now: Mapping[str, bool]) -> str:
            keyed, marks = self._keyed | dict(now), self._log.marks()
            return json.dumps({"log": pending.place, "keyed": keyed, "marks": marks})

        untold = frozenset(pending.untold)
        return Part(
            *(source, self._place_name, tables, self._log.key_columns(), position, untold),
            gone={} if tables is None else pending.gone,
            commits=pending.times,
            live=self._live,
            as_of=self._as_of,
        )

    def _judge(self, found: LoadResult) -> None:
        """What an audit found: a difference is a fault of the watching."""
        self._audited_at = time.monotonic()
        faults = []
        for entry in found.tables:
            name, changes = entry.table.raw_name, entry.changes
            rows = changes.inserted + changes.updated + changes.deleted
            # What no log tells of may have changed since it was compared.
            if rows and name not in self._log.silent():
                faults.append(f"{name} ({rows} rows)")
        self.figures.audited(faults)
        if faults:
            self._say(
                f"watch: the audit found differences, and mended them: {', '.join(faults)}. This is"
                " a fault of the watching: the log did not lead to these rows."
            )

    def _tell(self, *, running: bool = True, unless: threading.Event | None = None) -> None:
        """Say how it is where `status` finds it; `unless` the last word was said."""
        figures = self.figures
        with self._telling:
            if unless is not None and unless.is_set():
                return
            figures.running, figures.who = running, this_run(COMMAND)
            figures.position = shown(self._published)
            figures.bytes_behind = self._log.behind(self._published)
            figures.bytes_kept = self._log.kept() if running else None
            figures.marts = self._after.status()
            status = figures.as_json(self._pending, self._rest)
            self._board.write(status)
            self._after.told(status)
