"""Marts that follow the raw tables of a watch: the quick ones with each batch, the others at times.

A batch builds what the marts with the tag `live` need, by one dbt that stays warm, and only for the
rows that changed. Their tests run in parts (rounds.py) when nothing waits, or now and then when it
is busy. Every `slow` seconds come all other marts and tests: by the changes that the quick marts
have logged meanwhile (macros/incremental/kept_changes.sql), so that they cost what has changed too.
When all is through and green, the record of a green build is written, and make build goes on from
there.

What goes wrong is said, and tried again; until then the quick marts are calculated without marks,
as after a build by hand, and the others as a whole.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from loader.watch.status import now
from pipeline.attempts import Attempts
from pipeline.changes import (
    WATCHED,
    Inputs,
    Load,
    accepted_names,
    changed_tables,
    days,
    inputs,
    last_green_build,
    last_load,
    note_green_build,
    python_code,
    signs_of,
)
from pipeline.dbt_runner import DbtError, Result, Run
from pipeline.marts_status import Told
from pipeline.project import raw_schema
from pipeline.rounds import Pace, Round
from pipeline.settings import Settings
from pipeline.verdicts import Verdicts
from pipeline.warehouse import Warehouse, WarehouseError
from pipeline.warm_marts import MartsError, Said, Span, WarmMarts
from pipeline.working_copy import CopyError

COMMAND = "make watch"
# What may go wrong with marts without ending the watch.
FAULTS = (CopyError, DbtError, MartsError, WarehouseError)
QUICK, SLOW, TESTS = "quick marts", "slow marts", "tests"


class Following:
    """The marts of one warehouse. `build` is a complete build, in a process of its own."""

    def __init__(
        self,
        warehouse: Warehouse,
        settings: Settings,
        every: float,
        say: Callable[[str], None],
        build: Callable[[threading.Event], bool],
    ) -> None:
        self._warehouse, self._settings, self._every = warehouse, settings, every
        self._say, self._build = say, build
        self._stop = threading.Event()
        self._code = python_code()
        self._marts: WarmMarts | None = None
        # Whether what is built beside the published tables is as these; for that the lock is held.
        self._is_prepared = False
        self._told = Told(slow={"built_at": "", "every": every, "seconds_by_model": {}})
        self._verdicts = Verdicts(say)
        # Why a complete build is needed, and when the next is tried.
        self._needs_build, self._build_at = "no build has been made", 0.0
        self._name = f"{WATCHED}{uuid.uuid4().hex[:12]}"
        # What the record says as long as nobody else has built: after the last run, or, where some
        # did not even begin, after the one before these.
        self._signs: tuple[str, ...] = ()
        self._attempts = {QUICK: Attempts(), SLOW: Attempts(every), TESTS: Attempts()}
        # Tests that did not end are run again although their tables have not changed.
        self._again = Attempts()
        # The tests that are not through.
        self._round: Round | None = None
        self._pace = Pace()
        self._inputs = Inputs("", "", "")
        self._load: Load | None = None
        self._batch, self._run, self._committed_at = "", 0, 0.0
        self._quick = self._tested = self._slow = Span("")
        self._is_fresh = False
        self._slow_at = 0.0

    def status(self) -> dict[str, Any]:
        """How the marts are; asked for by another thread too."""
        return dict(vars(self._told))

    @property
    def is_whole(self) -> bool:
        """Whether all marts are as some run has left them that did not fail."""
        has_failed = self._attempts[QUICK].has_failed or self._attempts[SLOW].has_failed
        return not self._needs_build and not has_failed

    @property
    def _state(self) -> str:
        failed = [name for name, attempts in self._attempts.items() if attempts.has_failed]
        return f"follow, but the {failed[0]} failed" if failed else "follow"

    def begin(self, stop: threading.Event) -> None:
        """Build everything once."""
        self._stop = stop
        self._build_all()

    def after_batch(self, committed_at: float) -> None:
        """Let the quick marts follow the raw tables."""
        self._committed_at = max(committed_at, self._committed_at)
        self._guarded(self._follow)

    def is_due(self, *, quiet: bool) -> bool:
        """Whether something was put off, or a day has begun."""
        if self._needs_build:
            return time.monotonic() >= self._build_at
        quick = self._attempts[QUICK]
        # What failed may have been to look at what has changed.
        if quick.has_failed or not self._quick.is_empty:
            return quick.may_begin
        return self._is_new_day or self._slow_is_due or self._tests_are_due(quiet=quiet)

    def work(self, *, quiet: bool) -> None:
        """Do it."""
        if self._needs_build:
            self._build_all()
            return
        with self._warehouse.destination(raw_schema()).alone(COMMAND, self._say):
            self._guarded(self._follow)
            if self._attempts[QUICK].has_failed or not self._quick.is_empty:
                return
            if self._slow_is_due:
                self._guarded(self._follow_slowly, SLOW)
            elif self._tests_are_due(quiet=quiet):
                self._guarded(self._test, TESTS)

    @property
    def _slow_is_due(self) -> bool:
        is_late = time.monotonic() - self._slow_at >= self._every
        is_due = not self._slow.is_empty and (is_late or self._slow.new_day)
        return is_due and self._attempts[SLOW].may_begin

    def _tests_are_due(self, *, quiet: bool) -> bool:
        has_begun = self._round is not None
        is_due = (has_begun or not self._tested.is_empty) and self._pace.may_run(quiet=quiet)
        has_changed = has_begun or bool(self._tested.tables or self._tested.new_day)
        may_begin = self._attempts[TESTS].may_begin and (has_changed or self._again.may_begin)
        return is_due and may_begin

    @property
    def _is_new_day(self) -> bool:
        return days(self._settings.day) != (self._inputs.as_of_date, self._inputs.built_on)

    # -- complete builds ---------------------------------------------------------------------------

    def _build_all(self) -> None:
        """Let make build bring everything to one green state, from which the marts follow."""
        self._build_at = time.monotonic() + self._every
        if self._needs_restart():
            return
        self._told.state = "a complete build runs"
        self._warehouse.let_go()
        is_green = self._build(self._stop)
        # Not before, as the first build installs packages.
        code = inputs(self._warehouse, self._settings.day)
        if self._stop.is_set() or self._needs_restart():
            return
        try:
            if is_green and self._go_on_from_record(code.fingerprint):
                if self._marts is None or self._marts.code != code.fingerprint:
                    self._marts = WarmMarts(self._warehouse, self._settings, code)
                self._say(
                    "watch: the marts follow: the quick ones with each batch, the others every"
                    f" {self._every:g} s"
                )
                return
            self._wait_for_build("make build was not green: see what it says above")
        except FAULTS as error:
            self._wait_for_build(str(error))
        self._build_at = time.monotonic() + self._every

    def _go_on_from_record(self, fingerprint: str) -> bool:
        """Whether there is a green build of this code, of which the marts are now."""
        record = last_green_build(self._warehouse)
        if record is None or record.fingerprint != fingerprint:
            return False
        self._inputs = Inputs(fingerprint, record.as_of_date, record.built_on)
        self._signs = (f"{record.fingerprint} {record.finished_at}",)
        for attempts in self._attempts.values():
            attempts.succeeded()
        self._batch, self._is_fresh, self._is_prepared = record.batch_id, True, False
        span = Span(record.loaded_through, self._run)
        self._quick, self._tested, self._slow = span, replace(span), replace(span)
        self._verdicts.begin(record.warned)
        self._again, self._round = Attempts(), None
        self._needs_build = ""
        self._slow_at = time.monotonic()
        self._pace.begin()
        self._told.state, self._told.failed, self._told.is_green = "follow", [], True
        self._told.built_at = self._told.tested_at = self._told.slow["built_at"] = (
            record.finished_at
        )
        return True

    def _wait_for_build(self, why: str, *, at_once: bool = False) -> None:
        self._needs_build = why
        self._build_at = time.monotonic() + (0.0 if at_once else self._every)
        self._told.state = f"do not follow: {why}"
        when = "now" if at_once else f"every {self._every:g} s"
        self._say(
            f"watch: the marts do not follow: {why}. The raw tables do; a complete build is tried"
            f" {when}."
        )

    def _needs_restart(self) -> bool:
        """Whether this process has old code: it must not go on as if that were the new."""
        if python_code() == self._code:
            return False
        why = "the code of make watch has changed: restart it"
        if self._needs_build != why:
            self._say(f"watch: the marts do not follow: {why}. The raw tables do.")
        self._needs_build, self._told.state = why, f"do not follow: {why}"
        self._told.is_green = False
        return True

    # -- what has changed --------------------------------------------------------------------------

    def _guarded(self, do: Callable[[], None], what: str = QUICK) -> None:
        """Do something with marts; what goes wrong is said and tried again later."""
        if self._needs_build or self._stop.is_set():
            return
        try:
            do()
        except FAULTS as error:
            # What a run has done in part is in no log.
            self._quick.is_logged = False
            self._calculate_all()
            attempts = self._attempts[what]
            attempts.failed()
            if what == TESTS:
                self._pace.failed()
            # Marts that are not tested are of the last batch all the same.
            self._told.state = self._state if what == TESTS else f"failed: {error}"
            self._say(
                f"watch: {error} The raw tables are followed; the {what} are tried again in"
                f" {attempts.pause:g} s."
            )

    def _follow(self) -> None:
        """Look at what has changed, and build the quick marts."""
        quick = self._attempts[QUICK]
        if not quick.may_begin:
            return
        self._look()
        if self._needs_build:
            return
        if not self._quick.is_empty:
            self._build_quick()
        elif quick.has_failed:
            quick.succeeded()
            self._told.state = self._state

    def _look(self) -> None:
        """See which raw tables have other rows, and whether anybody else has built."""
        with self._warehouse.reading() as ask:
            found = signs_of(ask, self._warehouse)
            is_ours = bool(found) and found[0] in self._signs
            if is_ours:
                self._signs = (found[0],)
                self._load = last_load(ask)
                tables, is_reshaped = changed_tables(ask, self._batch)
        if not is_ours:
            if not self._go_on_from_record(self._inputs.fingerprint):
                self._wait_for_build("somebody else has built or changed them", at_once=True)
                return
            self._say("watch: the marts follow on from a build by somebody else")
            self._look()
            return
        if is_reshaped:
            self._wait_for_build("the shop's tables or columns have changed", at_once=True)
            return
        assert self._load and self._marts
        if not self._is_prepared:
            self._marts.prepare()
            self._is_prepared = True
        self._batch = self._load.batch_id
        self._note(tables)

    def _note(self, tables: frozenset[str]) -> None:
        """Remember what has changed, for all that has not seen it yet."""
        before = self._inputs
        day, today = days(self._settings.day)
        new_day = day != before.as_of_date
        for span in (self._quick, self._tested, self._slow):
            span.tables |= tables
            span.new_day |= new_day
        if today != before.built_on:
            with self._warehouse.reading() as ask:
                self._slow.tests |= accepted_names(ask, self._warehouse)
            self._slow.new_day = True
        self._inputs = replace(before, as_of_date=day, built_on=today)

    # -- builds and tests --------------------------------------------------------------------------

    def _said(self, **more: Any) -> Said:
        """What a run tells its macros. The record is another from then on."""
        self._signs = (f"{self._name} {self._run}", *self._signs)
        self._told.is_green = False
        return Said(self._signs[0], **more)

    def _built(self, nodes: Sequence[str], span: Span, **more: Any) -> Sequence[Result]:
        """Build models of a span; what became of them. Raises MartsError where one failed."""
        assert self._marts
        if not span.is_logged:
            self._marts.prepare()
        self._run += 1
        if not nodes:
            return ()
        said = self._said(run=self._run, fresh=self._is_fresh, **more)
        run = self._marts.build(nodes, span.built_through, said)
        self._is_fresh = False
        return [result for result in run.results if result.kind in ("model", "snapshot")]

    def _build_quick(self) -> None:
        assert self._marts and self._load
        began, span, load = time.monotonic(), self._quick, self._load
        built = self._built(self._marts.quick(span), span)
        if not span.is_logged:
            self._calculate_all()
        self._quick = Span(load.started_at, self._run)
        self._attempts[QUICK].succeeded()
        told = self._told
        told.state, told.built_at, told.models = self._state, now(), len(built)
        told.seconds = round(time.monotonic() - began, 3)
        if self._committed_at:
            through = datetime.fromtimestamp(self._committed_at, UTC)
            told.through = through.isoformat(timespec="milliseconds")

    def _calculate_all(self) -> None:
        """Let what comes after the quick marts not go by the log of changes, which lacks some."""
        self._tested.is_logged = self._slow.is_logged = False
        if self._round:
            self._round.span.is_logged = False

    def _test(self) -> None:
        """Test what the quick marts have got since they were tested, or a part of that."""
        assert self._marts
        if self._round is None:
            self._round = Round(self._marts.quick_tests(self._tested), self._tested)
            # From here on for the next round.
            self._tested = Span(self._quick.through, self._run)
        found = self._round
        part = found.next_part(self._marts.names, self._pace.seconds)
        found.ran(part, self._run_tests(part, found.span, since=found.span.run))
        if not found.is_over:
            return
        self._round = None
        self._tested.tests |= self._unfinished
        self._slow.tests |= self._tested.tests
        self._tests_are_through(found.count, found.began_at)
        self._attempts[TESTS].succeeded()
        self._told.state = self._state

    @property
    def _unfinished(self) -> frozenset[str]:
        """The tests of the quick marts that have to run again."""
        assert self._marts
        return self._verdicts.unfinished & self._marts.quick_test_names

    def _run_tests(self, nodes: Sequence[str], span: Span, **more: Any) -> int:
        """Run tests and say what they find; returns how many there were."""
        assert self._marts
        began = time.monotonic()
        whole = self._verdicts.names | span.tests
        said = Said(fresh=self._is_fresh, **more)
        run = self._marts.test(nodes, span, whole, said) if nodes else Run(True, [])
        results = [result for result in run.results if result.kind == "test"]
        if results:
            self._verdicts.judge(results, self._marts.with_rows)
            self._told.failed = self._verdicts.failed
        self._pace.ended(began, results)
        return len(results)

    def _tests_are_through(self, tests: int, began_at: str) -> None:
        """Where there is no test of what has changed, that is tested too."""
        if self._unfinished:
            self._again.failed()
        else:
            self._again.succeeded()
        self._told.tests = tests or self._told.tests
        self._told.tested_at = began_at

    def _follow_slowly(self) -> None:
        """Build and test all that does not follow each batch; where all is green, record it."""
        assert self._marts
        span = self._slow
        self._slow_at = time.monotonic()
        built = self._built(self._marts.slow(span), span, since=span.run)
        seconds = {result.name: round(result.seconds, 2) for result in built}
        self._told.slow |= {"built_at": now(), "seconds_by_model": seconds}
        tests = self._run_tests(self._marts.tests(span), span, since=span.run, last=True)
        self._tests_are_through(tests, now())
        if not self._told.failed:
            ended = note_green_build(
                self._warehouse, self._inputs, self._load, self._verdicts.results
            )
            self._signs = (f"{self._inputs.fingerprint} {ended}",)
            self._told.is_green = True
        self._slow = Span(self._quick.through, self._run, tests=self._verdicts.unfinished)
        self._tested = Span(self._quick.through, self._run, tests=self._unfinished)
        self._round = None
        self._slow_at = time.monotonic()
        self._attempts[SLOW].succeeded()
        self._attempts[TESTS].succeeded()
        self._told.state = self._state
