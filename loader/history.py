"""The memory of all runs: each that had the lock leaves a row in the raw schema, beside the loads.

A run is there as `running` as soon as it has the lock. One that was killed is found by the next,
which has the lock, so that the other is gone. On a server each row is written at once. A DuckDB
file is replaced as a whole, and a reader may have it open: a run is first a file in the folder
`warehouse.duckdb.runs`, and gets into the tables with the next copy that replaces the warehouse.

To record never fails a run: what cannot be written is said in one line.
"""

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from .audit import RUN_TABLES
from .destinations import Destination
from .destinations.base import Ask
from .destinations.sql import SqlDestination
from .dialects.standard import literal, quote
from .errors import BusyError, LoadError, UsageError
from .run_record import (
    FAILED,
    GONE,
    INTERRUPTED,
    KILLED,
    RUNNING,
    SUCCEEDED,
    WATCHES,
    RunRecord,
    code_version,
    file_of,
    keep,
    now,
    waiting,
)

Say = Callable[[str], None]

LONGEST = 2_000  # characters of an error or message
ROWS = 500  # of one insert


class History:
    """The runs of one warehouse, as one of them writes them."""

    def __init__(self, warehouse: Destination, say: Say, kept_days: int) -> None:
        """`warehouse`: what readers have, where a run works on a copy of it."""
        self._warehouse, self._say, self._kept_days = warehouse, say, kept_days
        self._folder = warehouse.runs_folder
        self._run: RunRecord | None = None
        self._began = time.monotonic()
        # Why the run is not recorded.
        self._problem = ""
        # Files of runs that are in a copy, and of those that are in the warehouse.
        self._carried: set[Path] = set()
        self._arrived: set[Path] = set()

    @property
    def run(self) -> RunRecord:
        """The run that has begun."""
        assert self._run is not None
        return self._run

    def begin(self, command: str) -> RunRecord:
        """Record a run that has just got the lock, and those that were killed before it."""
        started = now()
        run = RunRecord(
            run_id=f"{started:%Y%m%dT%H%M%S%f}Z_{secrets.token_hex(2)}",
            command=command,
            code_version=code_version(Path(__file__).parents[1]),
            host=socket.gethostname(),
            process=os.getpid(),
            started_at=started,
        )
        self._run, self._began = run, time.monotonic()
        with self._noting():
            if self._folder is None:
                with self._warehouse.writing() as ask:
                    if self._has_tables(ask):
                        self._find_killed(ask)
                        self._store(ask, run)
            else:
                for other in waiting(self._folder):
                    if other.outcome == RUNNING and self._is_gone(other):
                        self._say_killed(other)
                        keep(self._folder, other)
                keep(self._folder, run)
        return run

    def prepare(self, copy: Destination) -> None:
        """Before models read the tables in a copy: let it have them, with what ended before."""
        if self._folder is not None:
            with self._noting():
                with copy.writing() as ask:
                    files = self._carry(ask) if self._has_tables(ask) else set()
                self._carried |= files

    def carry(self, copy: Destination, outcome: str, error: str = "") -> bool:
        """Write into a copy that is about to replace the warehouse how the run ended.

        True where that was done, and the copy's log is in the file.
        """
        if self._folder is not None:
            with self._noting():
                ended, files = self._ended(outcome, error), set()
                with copy.writing() as ask:
                    if self._has_tables(ask):
                        files = {*self._carry(ask), file_of(self._folder, ended)}
                        self._store(ask, ended)
                        self._clean(ask)
                self._carried |= files
                self._problem = ""
                return True
        return False

    def arrived(self) -> None:
        """The copy has replaced the warehouse."""
        self._arrived |= self._carried

    def end(self, outcome: str, error: str, into: Callable[[], None] | None = None) -> None:
        """Record the end of the run.

        `into` lets `carry` write it into a copy that replaces a DuckDB file; without it is written
        into the file itself, unless somebody else has that open.
        """
        ended = self._ended(outcome, error)
        with self._noting():
            if self._folder is None:
                with self._warehouse.writing() as ask:
                    if self._has_tables(ask):
                        self._store(ask, ended)
                        self._clean(ask)
                self._problem = ""
            elif file_of(self._folder, ended) not in self._arrived:
                keep(self._folder, ended)
                # Where nobody can write now, the next run does.
                with suppress(BusyError):
                    if into:
                        into()
                    else:
                        self.carry(self._warehouse, outcome, error)
                        self.arrived()
        self._remove(self._arrived)

    def end_of_failed(self, error: BaseException, into: Callable[[], None] | None) -> None:
        """Record a run that an error ends, which is said by itself.

        As in the audit of loads, a wrong command is no run, and of a first one nothing is left.
        """
        is_first = self._folder is not None and not self._folder.with_suffix("").exists()
        if isinstance(error, KeyboardInterrupt):
            # Who pressed the keys does not wait for a copy.
            self.end(INTERRUPTED, "", lambda: None)
        elif not isinstance(error, UsageError) and not is_first:
            self.end(FAILED, str(error) or type(error).__name__, into)
        elif self._folder is not None:
            self._remove({*self._arrived, file_of(self._folder, self.run)})
        else:
            with self._noting(), self._warehouse.writing() as ask:
                if self._has_tables(ask):
                    self._delete(ask, self.run)

    def say_problem(self) -> None:
        """Say why a run is not recorded, if so."""
        if self._problem:
            self._say(f"WARNING: this run is not recorded, as {self._problem.rstrip('.')}.")

    def _remove(self, files: Iterable[Path]) -> None:
        """Remove files of runs, and the folder with the last."""
        if self._folder is not None:
            with suppress(OSError):
                for file in files:
                    file.unlink(missing_ok=True)
                self._folder.rmdir()

    def _ended(self, outcome: str, error: str) -> RunRecord:
        run = self.run
        if run.ended_at is None:
            run.seconds = round(time.monotonic() - self._began, 3)
            run.ended_at = now()
            if run.ended_at < run.started_at:
                behind = (run.started_at - run.ended_at).total_seconds()
                self._say(
                    f"WARNING: the clock of {run.host} was set back during this run, which ends"
                    f" {behind:,.0f} s before it began: it is recorded with {run.seconds:,.1f} s"
                )
                run.ended_at = run.started_at + timedelta(seconds=run.seconds)
        run.outcome, run.error = outcome, error[:LONGEST]
        return run

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Note what goes wrong, and go on."""
        try:
            yield
        except BusyError:
            raise
        except (LoadError, OSError) as error:
            self._problem = str(error)

    # -- runs that others left ---------------------------------------------------------------------

    def _is_gone(self, other: RunRecord) -> bool:
        """Whether a run that never ended has no process any more."""
        is_watch = self.run.command in WATCHES
        if self._warehouse.has_lock and (other.command in WATCHES) == is_watch:
            return True  # it had the lock that this run has now
        return other.process_is_gone

    def _say_killed(self, run: RunRecord) -> None:
        run.outcome = KILLED
        run.error = GONE
        self._say(f"WARNING: {run.who} was killed: it is recorded as {run.run_id}")

    def _find_killed(self, ask: Ask) -> None:
        for found in ask(
            "select run_id, command, '', host, process, started_at"
            f" from {self._name('_runs')} where outcome = {literal(RUNNING)}"
        ):
            other = RunRecord(*found)
            if self._is_gone(other):
                self._say_killed(other)
                self._mark(ask, other)

    def _mark(self, ask: Ask, run: RunRecord) -> None:
        ask(
            f"update {self._name('_runs')} set outcome = {literal(run.outcome)},"
            f" error = {literal(run.error)} where run_id = {literal(run.run_id)}"
        )

    def _carry(self, ask: Ask) -> set[Path]:
        """Write what waits in the folder, but for runs that go on; returns the files."""
        assert self._folder is not None
        files = set()
        for run in waiting(self._folder):
            if run.outcome == RUNNING or run.run_id == self.run.run_id:
                continue
            runs = self._name("_runs")
            if ask(f"select 1 from {runs} where run_id = {literal(run.run_id)}"):
                self._mark(ask, run)  # killed after its data had become visible
            else:
                self._store(ask, run)
            files.add(file_of(self._folder, run))
        return files

    # -- the tables --------------------------------------------------------------------------------

    def _name(self, table: str) -> str:
        return f"{quote(self._sql.schema)}.{quote(table)}"

    @property
    def _sql(self) -> SqlDestination:
        assert isinstance(self._warehouse, SqlDestination)
        return self._warehouse

    def _has_tables(self, ask: Ask) -> bool:
        """Make what is missing, also columns that an earlier version did not have.

        False before the first load, which makes the schema.
        """
        schema = literal(self._sql.schema)
        # Not information_schema, which hides what one may not use.
        if not ask(f"select 1 from pg_catalog.pg_namespace where nspname = {schema}"):
            return False
        names = ", ".join(map(literal, RUN_TABLES))
        there: dict[str, set[str]] = {}
        # The standard's view takes DuckDB three times as long.
        catalog, named = "information_schema.columns", "table_schema"
        if self._folder is not None:
            catalog, named = "duckdb_columns()", "schema_name"
        for table, column in ask(
            f"select table_name, column_name from {catalog}"
            f" where {named} = {schema} and table_name in ({names})"
        ):
            there.setdefault(table, set()).add(column)
        for table, columns in RUN_TABLES.items():
            if table not in there:
                ask(f"create table {self._name(table)} ({self._sql.defined(columns)})")
                continue
            for column, kind in columns.items():
                if column not in there[table]:
                    defined = self._sql.defined({column: kind})
                    ask(f"alter table {self._name(table)} add column {defined}")
        return True

    def _delete(self, ask: Ask, run: RunRecord) -> None:
        for table in ("_run_nodes", "_runs"):
            ask(f"delete from {self._name(table)} where run_id = {literal(run.run_id)}")

    def _store(self, ask: Ask, run: RunRecord) -> None:
        """Write a run in place of what there is of it."""
        self._delete(ask, run)
        values = asdict(run)
        self._insert(ask, "_runs", [[values[column] for column in RUN_TABLES["_runs"]]])
        self._insert(ask, "_run_nodes", [[run.run_id, *vars(n).values()] for n in run.nodes])

    def _insert(self, ask: Ask, table: str, rows: Sequence[Sequence[Any]]) -> None:
        columns = ", ".join(map(quote, RUN_TABLES[table]))
        for first in range(0, len(rows), ROWS):
            values = ", ".join(
                f"({', '.join(map(_sql_of, row))})" for row in rows[first : first + ROWS]
            )
            ask(f"insert into {self._name(table)} ({columns}) values {values}")

    def _clean(self, ask: Ask) -> None:
        """Sum up by day what is older than history is kept; say where the clock must be wrong."""
        run, runs = self.run, self._name("_runs")
        ((oldest, newest),) = ask(
            f"select min(started_at), max(started_at) from {runs}"
            f" where run_id <> {literal(run.run_id)}"
        )
        if newest is not None and newest > run.started_at + timedelta(minutes=1):
            self._say(
                f"WARNING: the clock of {run.host} says that this run began at"
                f" {run.started_at:%Y-%m-%d %H:%M} UTC, but one before it at"
                f" {newest:%Y-%m-%d %H:%M}: a clock is wrong, and runs are listed by their clocks"
            )
        today = run.started_at.replace(hour=0, minute=0, second=0, microsecond=0)
        end = today - timedelta(self._kept_days)
        if oldest is None or oldest >= end:
            return
        old = f"where started_at < {literal(end)}"
        days = self._name("_run_days")
        sums = ask(
            "select cast(started_at as date), command, outcome, count(*), coalesce(sum(seconds), 0)"
            f" from {runs} {old} group by 1, 2, 3"
        )
        for day, command, outcome, count, seconds in sums:
            of_day = (
                f"where run_day = cast({literal(str(day))} as date)"
                f" and command = {literal(command)} and outcome = {literal(outcome)}"
            )
            for known, took in ask(f"select run_count, seconds from {days} {of_day}"):
                count, seconds = count + known, seconds + took
            ask(f"delete from {days} {of_day}")
            self._insert(ask, "_run_days", [[day, command, outcome, count, seconds]])
        nodes = self._name("_run_nodes")
        ask(f"delete from {nodes} where run_id in (select run_id from {runs} {old})")
        ask(f"delete from {runs} {old}")


@contextmanager
def recorded(
    history: History, command: str, into: Callable[[], None] | None = None
) -> Iterator[RunRecord]:
    """Record a run from now, when it has the lock, to the end of the block.

    It has succeeded unless an error ends it, or `run.outcome` says otherwise.
    """
    run = history.begin(command)
    try:
        yield run
    except BaseException as error:
        history.end_of_failed(error, into)
        raise
    history.end(SUCCEEDED if run.outcome == RUNNING else run.outcome, run.error, into)
    history.say_problem()


def _sql_of(value: Any) -> str:
    if value is None or isinstance(value, (int, datetime)):
        return literal(value)
    if isinstance(value, (float, Decimal)):
        return f"{value:.3f}"
    # PostgreSQL has no NUL in a text, and in Redshift's literals a backslash escapes.
    parts = str(value).replace("\0", "")[:LONGEST].split("\\")
    return " || chr(92) || ".join(map(literal, parts))
