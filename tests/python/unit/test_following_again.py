"""What a watch tries again after something failed, and when; dbt has no nodes here, and no time."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import duckdb
import pytest

from loader import DuckDBDestination, Options, load
from pipeline import changes, following
from pipeline.attempts import Attempts
from pipeline.changes import Inputs, changes_since, inputs, note_green_build, wanted
from pipeline.dbt_runner import Node, Result, Run
from pipeline.following import QUICK, SLOW, TESTS, Following
from pipeline.project import PROJECT
from pipeline.settings import given_settings
from pipeline.verdicts import Verdicts
from pipeline.warehouse import DuckDB, WarehouseError
from pipeline.warm_marts import Span, WarmMarts

EVERY = 60.0


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("time.monotonic", made.monotonic)
    return made


def test_each_failure_is_followed_by_a_longer_pause(clock: Clock) -> None:
    quick, slow = Attempts(), Attempts(EVERY)
    assert quick.may_begin and slow.may_begin
    pauses = []
    for _ in range(10):
        quick.failed()
        pauses.append(quick.pause)
        clock.now += quick.pause - 1
        assert not quick.may_begin
        clock.now += 1
        assert quick.may_begin
    assert pauses[:3] == [2.0, 4.0, 8.0] and pauses[-2:] == [300.0, 300.0]
    slow.failed()
    assert slow.pause == EVERY
    quick.succeeded()
    quick.failed()
    assert quick.pause == 2.0
    hourly = Attempts(3600.0)
    hourly.failed()
    hourly.failed()
    assert hourly.pause == 3600.0


def test_tests_that_did_not_end_are_known() -> None:
    said: list[str] = []
    verdicts = Verdicts(said.append)
    bad = [
        Result("broken", "test", "error", message="no such column"),
        Result("left_out", "test", "skipped"),
        Result("odd", "test", "fail", failures=2),
        Result("strange", "test", "warn", failures=1),
    ]
    verdicts.judge([*bad, Result("fine", "test", "pass")], list)
    assert verdicts.unfinished == {"broken", "left_out"}
    assert [each["test"] for each in verdicts.failed] == ["broken", "left_out", "odd"]
    verdicts.judge([Result("broken", "test", "pass"), Result("left_out", "test", "pass")], list)
    assert verdicts.unfinished == set()
    assert said[-2:] == [
        "watch: the test broken finds nothing any more",
        "watch: the test left_out finds nothing any more",
    ]


class Published:
    """Tables beside the published ones, for which nobody else may be at work."""

    def __init__(self) -> None:
        self.prepared = 0

    def prepare(self) -> None:
        self.prepared += 1


def without_nodes(_: Any, __: Any, code: Inputs) -> WarmMarts:
    """The marts of a project that has none: dbt takes long to read ours."""
    marts = WarmMarts.__new__(WarmMarts)
    marts.code, marts._nodes, marts._publisher = code.fingerprint, [], cast(Any, Published())
    marts._quick, marts._quick_tests = set(), set()
    return marts


class Watched:
    """A small warehouse, and marts that follow it."""

    def __init__(self, folder: Path) -> None:
        self.shop, self.said = folder / "shop.sqlite", list[str]()
        self.warehouse = DuckDB("duckdb", "main", {"path": str(folder / "warehouse.duckdb")})
        self.settings = given_settings()
        self.builds = 0
        self.run("create table orders (id integer primary key, v integer)")
        self.run("create table other (id integer primary key, v integer)")
        self.load()
        self.marts = Following(self.warehouse, self.settings, EVERY, self.said.append, self.build)

    def run(self, sql: str) -> None:
        with sqlite3.connect(self.shop) as shop:
            shop.execute(sql)

    def load(self) -> None:
        place = DuckDBDestination("raw_classicmodels", self.warehouse.place)
        load(f"sqlite:///{self.shop}", place, Options())

    def write(self, sql: str) -> None:
        with duckdb.connect(self.warehouse.place) as file:
            file.execute(sql)

    def build(self, _: threading.Event) -> bool:
        """Leave the record that a green build leaves, and nothing else of it."""
        self.builds += 1
        self.write("create schema if not exists intermediate")
        now = inputs(self.warehouse, self.settings.day)
        loaded = changes_since(self.warehouse, now, wanted()).load
        note_green_build(self.warehouse, now, loaded, [])
        return True

    @property
    def warm(self) -> WarmMarts:
        assert self.marts._marts
        return self.marts._marts

    def begin(self) -> None:
        self.marts.begin(threading.Event())
        assert self.marts.is_whole, self.said


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr(following, "WarmMarts", without_nodes)
    return Watched(tmp_path)


def test_code_that_changes_under_a_watch_asks_for_a_restart(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(following, "python_code", lambda: "other code")
    watched.marts.begin(threading.Event())
    watched.marts.work(quiet=True)
    assert watched.builds == 0 and not watched.marts.is_whole
    assert watched.said == [
        "watch: the marts do not follow: the code of make watch has changed: restart it."
        " The raw tables do."
    ]
    assert not watched.marts.is_due(quiet=True)
    clock.now += EVERY
    assert watched.marts.is_due(quiet=True)
    # As it was again.
    code = watched.marts._code
    monkeypatch.setattr(following, "python_code", lambda: code)
    watched.marts.work(quiet=True)
    assert watched.builds == 1 and watched.marts.is_whole


def test_packages_that_the_first_build_installs_are_no_change(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copyfile(PROJECT / "dbt_project.yml", tmp_path / "dbt_project.yml")
    monkeypatch.setattr(changes, "PROJECT", tmp_path)
    marts = Following(
        watched.warehouse, watched.settings, EVERY, watched.said.append, watched.build
    )
    (tmp_path / "dbt_packages").mkdir()
    installed = tmp_path / "dbt_packages" / "macro.sql"

    def build(stop: threading.Event) -> bool:
        installed.write_text("select 1")
        return watched.build(stop)

    marts._build = build
    marts.begin(threading.Event())
    assert marts.is_whole, watched.said
    # Code of the process itself that changes during the build is one.
    (tmp_path / "pipeline").mkdir()
    installed = tmp_path / "pipeline" / "new.py"
    marts.begin(threading.Event())
    assert "restart it" in watched.said[-1] and not marts.is_whole


def test_what_failed_is_tried_again_in_its_own_time(watched: Watched, clock: Clock) -> None:
    watched.begin()
    marts = watched.marts
    assert not marts.is_due(quiet=True)

    # A look that fails is tried again without a batch, and what was nothing is forgotten.
    held = Path(watched.warehouse.place)
    away = held.rename(held.with_suffix(".away"))
    marts.after_batch(1.0)
    assert "are tried again in 2 s" in watched.said[-1] and not marts.is_whole
    told = len(watched.said)
    marts.after_batch(2.0)  # within the pause nothing is tried
    assert len(watched.said) == told and not marts.is_due(quiet=True)
    away.rename(held)
    clock.now += 2
    assert marts.is_due(quiet=True)
    marts.work(quiet=True)
    assert marts.is_whole and marts.status()["state"] == "follow"
    assert not marts.is_due(quiet=True)

    # Tests and slow marts have times of their own.
    def fails() -> None:
        raise WarehouseError("It failed.")

    marts._tested.tables = marts._slow.tables = frozenset({"other"})
    assert marts.is_due(quiet=True)
    marts._guarded(fails, TESTS)
    assert marts.status()["state"] == "follow, but the tests failed" and marts.is_whole
    assert not marts.is_due(quiet=True)
    marts._slow.new_day = True
    assert marts.is_due(quiet=True)
    marts._guarded(fails, SLOW)
    assert "the slow marts are tried again in 60 s" in watched.said[-1]
    assert not marts._slow_is_due and marts._attempts[TESTS].pause == 2.0
    assert not marts._attempts[QUICK].has_failed
    clock.now += 2
    assert marts.is_due(quiet=True) and not marts._slow_is_due
    clock.now += EVERY - 2
    assert marts._slow_is_due

    # Without the table of records, a complete build is tried.
    watched.write("drop schema intermediate cascade")
    marts.after_batch(3.0)
    assert "somebody else has built" in watched.said[-1] and marts.is_due(quiet=True)
    marts.work(quiet=True)
    assert watched.builds == 2 and marts.is_whole
    assert not any(attempts.has_failed for attempts in marts._attempts.values())


def test_the_working_schema_is_taken_back_once_and_under_the_lock(watched: Watched) -> None:
    watched.begin()
    published = cast(Published, watched.warm._publisher)
    assert published.prepared == 0  # the complete build has given the lock back
    watched.marts.after_batch(1.0)
    watched.marts.after_batch(2.0)
    assert published.prepared == 1
    watched.build(threading.Event())
    watched.marts.after_batch(3.0)
    assert "follow on from a build by somebody else" in watched.said[-1]
    assert published.prepared == 2


def test_tests_that_did_not_end_are_run_again(watched: Watched, clock: Clock) -> None:
    watched.begin()
    marts = watched.marts
    marts.after_batch(1.0)
    watched.warm._nodes = [Node("test.t", "broken", "test", ("fact",))]
    marts._verdicts.judge(
        [Result("broken", "test", "error"), Result("far", "test", "skipped")], list
    )
    marts._told.failed = marts._verdicts.failed
    watched.warm._quick_tests = {"test.t"}
    marts._follow_slowly()
    assert marts._slow.tests == {"broken", "far"} and marts._tested.tests == {"broken"}
    assert watched.warm.quick_tests(marts._tested) == ["test.t"]
    assert not marts.is_due(quiet=True)
    clock.now += 2
    assert marts.is_due(quiet=True)
    # They do not hold up the tests of new rows.
    marts._again.failed()
    assert not marts.is_due(quiet=True)
    marts._tested.tables = frozenset({"other"})
    assert marts.is_due(quiet=True)


def test_tests_run_in_parts_and_batches_come_between(
    watched: Watched, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by dbt, whose tests would take their own time: what is asked of it, and when."""
    watched.begin()
    marts, warm = watched.marts, watched.warm
    marts.after_batch(1.0)
    nodes = [Node(f"test.{n}", n, "test", ("fact",)) for n in ("a", "b", "c")]
    warm._nodes = [Node("fact", "fact", "source", (), table="other"), *nodes]
    warm._quick_tests = {node.id for node in nodes}
    ran: list[tuple[list[str], Span]] = []

    def test(of: Any, span: Span, *_: Any) -> Run:
        ran.append(([*of], replace(span)))
        clock.now += 1
        return Run(True, [Result(n[5:], "test", "pass", seconds=0.7) for n in of])

    monkeypatch.setattr(warm, "test", test)
    marts._tested.tables = frozenset({"other"})
    # The first time nobody knows what they cost: all at once.
    marts.work(quiet=True)
    assert [of for of, _ in ran] == [["test.a", "test.b", "test.c"]] and marts._round is None
    assert marts.status()["tests"] == 3 and not marts.is_due(quiet=True)

    # Then one after the other, and each waits for a quiet moment or for its turn.
    marts._tested.tables = frozenset({"other"})
    marts._tested.through = "before"
    tested_at = marts.status()["tested_at"]
    marts.work(quiet=True)
    assert ran[-1][0] == ["test.a"] and marts._round and not marts.is_due(quiet=False)
    assert marts.status()["tested_at"] == tested_at and marts.is_due(quiet=True)
    clock.now += 31
    assert marts.is_due(quiet=False)
    # What a batch brings meanwhile is for the next round, and for all that is left of this one.
    marts._note(frozenset({"other"}))
    marts._quick = Span("later", 7)
    marts._guarded(marts._test, TESTS)
    marts._guarded(marts._test, TESTS)
    assert [of for of, _ in ran[-2:]] == [["test.b"], ["test.c"]]
    assert {span.through for _, span in ran[-3:]} == {"before"} and marts._round is None
    assert marts._tested.tables == {"other"} and marts._tested.through != "before"
    assert marts.status()["tested_at"] > tested_at and marts.is_due(quiet=True)

    # A part that fails is run again, without marks, and the slow marts test all of it.
    marts._guarded(marts._test, TESTS)

    def fails(*_: Any) -> Run:
        raise WarehouseError("It failed.")

    monkeypatch.setattr(warm, "test", fails)
    marts._guarded(marts._test, TESTS)
    assert marts._round and not marts._round.span.is_logged
    monkeypatch.setattr(warm, "test", test)
    marts._guarded(marts._test, TESTS)
    assert ran[-1][0] == ["test.b"] and not ran[-1][1].is_logged
    marts._follow_slowly()
    assert marts._round is None


def test_slow_marts_without_their_record_are_built_again(watched: Watched, clock: Clock) -> None:
    watched.begin()
    marts = watched.marts
    marts.after_batch(1.0)
    marts._slow.tables = frozenset({"other"})
    watched.write("drop schema intermediate cascade")  # nothing can be recorded
    marts._guarded(marts._follow_slowly, SLOW)
    assert "the slow marts are tried again in 60 s" in watched.said[-1]
    clock.now += EVERY
    assert marts._slow_is_due
