"""One dbt that stays warm in a watch: it builds, publishes and tests some nodes at a time."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pipeline.build_changes import publisher_of
from pipeline.changes import Changes, Inputs
from pipeline.dbt_runner import Dbt, Node, Parsed, Result, Run, close_connections
from pipeline.findings import with_rows
from pipeline.project import PROJECT
from pipeline.selection import selected
from pipeline.settings import Settings
from pipeline.warehouse import Warehouse

# The tag of the marts that follow each batch.
LIVE = "live"
# The variables by which a run tells its macros what it is, and nothing else may be told so.
TOLD_BY = ("FOLLOWING", "BUILT_THROUGH", "TESTED_THROUGH", "WARNED_BEFORE")
# What a build of models leaves out.
MODELS = ("--exclude-resource-type", "test", "--exclude-resource-type", "unit_test")


class MartsError(RuntimeError):
    """Some marts were not built; the text says which, and why."""


@dataclass
class Span:
    """What has changed since models were built, or since their rows were tested.

    `through`: the load that they know. `run`: the last run whose changes they know; `is_logged`:
    all changes after it are in the log of changes. `tests` have to run whatever has changed.
    """

    through: str
    run: int = 0
    tables: frozenset[str] = frozenset()
    new_day: bool = False
    tests: frozenset[str] = frozenset()
    is_logged: bool = True

    @property
    def is_empty(self) -> bool:
        """Whether nothing has changed."""
        return not (self.tables or self.new_day or self.tests)

    @property
    def built_through(self) -> str:
        """From where models go on; empty where they are calculated without marks."""
        return self.through if self.is_logged else ""

    @property
    def changes(self) -> Changes:
        """What a build has to look at."""
        return Changes(tables=self.tables, new_day=self.new_day, tests=self.tests)


@dataclass(frozen=True)
class Said:
    """What a run tells its macros (macros/incremental/kept_changes.sql)."""

    sign: str = ""
    run: int | None = None
    since: int | None = None
    fresh: bool = False
    last: bool = False

    def __str__(self) -> str:
        # A number may be 0.
        return json.dumps(
            {k: v for k, v in vars(self).items() if v not in (None, "") and v is not False}
        )


class WarmMarts:
    """The project's nodes, and dbt, which has parsed them once."""

    def __init__(self, warehouse: Warehouse, settings: Settings, code: Inputs) -> None:
        parsed = Parsed(warehouse.made / "parsed.pickle", f"{code.fingerprint} {PROJECT}")
        self.code = code.fingerprint
        self._dbt = Dbt(
            *(warehouse.options, _nothing, settings.variables, warehouse.file, parsed), log="error"
        )
        self._nodes = self._dbt.nodes()
        self._publisher = publisher_of(self._dbt, warehouse)
        # To the end: to change it and back takes as long as a small model.
        self._built_in = contextlib.ExitStack()
        if self._publisher:
            self._built_in.enter_context(self._dbt.built_in(self._publisher.schema))
        by_id = {node.id: node for node in self._nodes}
        self._quick = _with_parents({n.id for n in self._nodes if LIVE in n.tags}, by_id)
        ready = self._quick | {n.id for n in self._nodes if n.kind in ("source", "seed")}
        self._quick_tests = {
            n.id for n in self._nodes if n.kind == "test" and {*n.parents} & by_id.keys() <= ready
        }

    @property
    def names(self) -> dict[str, str]:
        """The names of all nodes by their ids."""
        return {node.id: node.name for node in self._nodes}

    @property
    def quick_test_names(self) -> frozenset[str]:
        """The names of the tests that `quick_tests` chooses from."""
        return frozenset(n.name for n in self._nodes if n.id in self._quick_tests)

    def quick(self, span: Span) -> list[str]:
        """The models and snapshots that follow each batch, as far as they have to be built."""
        return [n.id for n in self._built(span) if n.id in self._quick]

    def slow(self, span: Span) -> list[str]:
        """All others."""
        return [n.id for n in self._built(span) if n.id not in self._quick]

    def quick_tests(self, span: Span) -> list[str]:
        """The tests that look at nothing else than what follows each batch."""
        return [test for test in self.tests(span) if test in self._quick_tests]

    def tests(self, span: Span) -> list[str]:
        """The tests of all that a span has changed."""
        return [n.id for n in selected(self._nodes, span.changes) if n.kind == "test"]

    def _built(self, span: Span) -> list[Node]:
        nodes = selected(self._nodes, span.changes)
        return [node for node in nodes if node.kind in ("model", "snapshot")]

    def prepare(self) -> None:
        """Take what is built beside the published tables back to these. Raises CopyError."""
        if self._publisher:
            self._publisher.prepare()

    def build(self, nodes: Collection[str], built_through: str, said: Said) -> Run:
        """Build models, and let readers see them where that is a step of its own.

        Raises MartsError, DbtError, CopyError.
        """
        done = self._run(nodes, MODELS, said, built_through, "", ())
        if not done.succeeded:
            failed = [r for r in done.results if not r.is_good and r.status != "skipped"]
            named = "; ".join(f"{r.name}: {' '.join(r.message.split())}" for r in failed[:3])
            raise MartsError(f"Marts were not built: {named or 'see logs/dbt.log'}.")
        if self._publisher and self._publisher.publish().moved:
            self._publisher.prepare()
        return done

    def test(self, nodes: Collection[str], span: Span, warned: Collection[str], said: Said) -> Run:
        """Test the rows of a span; the tests that found something before look at all rows."""
        return self._run(nodes, (), said, span.built_through, span.through, warned)

    def with_rows(self, results: Sequence[Result]) -> list[Result]:
        """The results, with the rows that failed tests name."""
        found = with_rows(self._dbt, results)
        close_connections()
        return found

    def _run(
        self,
        nodes: Collection[str],
        kinds: Sequence[str],
        said: Said,
        built_through: str,
        tested_through: str,
        warned: Collection[str],
    ) -> Run:
        if not nodes:
            return Run(True, [])
        told = (str(said), built_through, tested_through, " ".join(sorted(warned)))
        os.environ.update(zip(TOLD_BY, told, strict=True))
        try:
            # By `build`, a test that fails would let others be skipped.
            return self._dbt.build_some(nodes, *kinds, command="build" if kinds else "test")
        finally:
            for name in TOLD_BY:
                del os.environ[name]
            # Nobody else could open a DuckDB file.
            close_connections()


def _nothing(_: str) -> None:
    """Where a build shows its progress."""


def _with_parents(starts: Collection[str], by_id: dict[str, Node]) -> set[str]:
    found, left = set(starts), list(starts)
    while left:
        new = [p for p in by_id[left.pop()].parents if p in by_id and p not in found]
        found |= {*new}
        left += new
    return {name for name in found if by_id[name].kind in ("model", "snapshot")}
