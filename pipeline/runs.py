"""The memory of all runs: what a build adds to it, and what `make runs` and `make run` show of it.

    python scripts/runs.py                  the last 20 runs, the newest first (--last for more)
    python scripts/runs.py --id RUN         one run, with what became of each model and test
    python scripts/runs.py --json           the same for programs

TARGET and the other variables of `make build` name the warehouse. Exit status: 0 done, 1 the
warehouse cannot be read, 2 there is no such run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loader import LoadError
from loader.audit import RUN_TABLES
from loader.dialects.standard import literal
from loader.errors import BusyError
from loader.history import History
from loader.run_record import FAILED, KILLED, RUNNING, NodeRun, RunRecord, waiting
from pipeline.dbt_runner import Result
from pipeline.project import PROJECT, raw_schema
from pipeline.steps import Steps
from pipeline.target import chosen_warehouse
from pipeline.warehouse import Ask, DuckDB, ProfileError, Warehouse, WarehouseError
from pipeline.working_copy import CopyError, WorkingCopy

NAMED = 5  # nodes that the error of a run names
GOOD = ("success", "pass", "no-op")
KINDS = ("model", "test", "unit_test", "snapshot", "seed", "source")
USAGE = 2


class NoRunError(RuntimeError):
    """There is no such run; the text says what to do."""


# -- what a build adds -----------------------------------------------------------------------------


def nodes_of(results: Sequence[Result]) -> list[NodeRun]:
    """What became of dbt's nodes and sources, for the record of the run."""
    return [
        NodeRun(
            result.name,
            "test" if result.kind == "unit_test" else result.kind,
            result.status,
            round(result.seconds, 3),
            result.failures if result.kind == "test" else result.rows_written,
            "" if result.is_good else result.message,
            without_zone(result.loaded_at),
        )
        for result in results
        if result.kind in KINDS
    ]


def without_zone(time: datetime | None) -> datetime | None:
    """A time in UTC, without a zone; one without a zone is UTC."""
    return time.astimezone(UTC).replace(tzinfo=None) if time and time.tzinfo else time


def note_failures(run: RunRecord, *, is_complete: bool = True) -> None:
    """Let a run have failed, by its nodes that did."""
    failed = [n.name for n in run.nodes if n.outcome not in (*GOOD, "warn", "skipped")]
    more = f" and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
    run.outcome = FAILED
    run.error = f"failed: {', '.join(failed[:NAMED])}{more}" if failed else ""
    if not (failed or is_complete):
        run.error = "the catalog is incomplete"


def into_a_copy(warehouse: Warehouse, history: History) -> None:
    """Record a run that published nothing in a copy of a DuckDB file, and let that replace it.

    So readers, who may have the file open, are not in the way, and are never refused.
    """
    copy = WorkingCopy(warehouse)
    copy.patience = 0.0
    with copy:
        try:
            made = copy.make(Steps(time.monotonic(), silent=True), stays=True)
            if copy.is_of_a_file:  # else there is no warehouse yet
                run = history.run
                history.carry(made.destination(raw_schema()), run.outcome, run.error)
                copy.publish()
                history.arrived()
        except CopyError as error:
            raise BusyError(str(error)) from None
        finally:
            copy.discard()


# -- what people and programs see ------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """The runs of a warehouse that can be read now, and a line about those that cannot."""

    runs: list[RunRecord]
    note: str = ""


def seen(warehouse: Warehouse, last: int | None, run_id: str = "") -> Seen:
    """The last runs, or one of them with its nodes. Raises WarehouseError."""
    beside = waiting(warehouse.destination(raw_schema()).runs_folder)
    found = {run.run_id: run for run in beside if run_id in ("", run.run_id)}
    note = ""
    try:
        with warehouse.reading() as ask:
            stored = stored_runs(ask, last, run_id)
    except WarehouseError as error:
        stored = []
        if not isinstance(warehouse, DuckDB):
            raise
        file = Path(warehouse.place).resolve()
        if "lock" in str(error).lower():
            note, copy = in_use(warehouse, str(error)), file.parent / f"{file.name}.readers"
            if (copy / file.name).is_file():
                with warehouse.copied_to(copy / file.name).reading() as ask:
                    stored = stored_runs(ask, last, run_id)
                note += f" These are the runs of its copy in {copy}, and those that go on."
            else:
                note += " Only runs that are not in it yet are shown."
        elif file.exists() or not found:
            raise
    for run in stored:
        found.setdefault(run.run_id, run)
    for run in found.values():
        if run.outcome == RUNNING and run.process_is_gone:
            run.outcome, run.error = KILLED, "its process is gone; the next run records that"
    runs = sorted(found.values(), key=lambda run: (run.started_at, run.run_id), reverse=True)
    return Seen(runs[:last], note)


def in_use(warehouse: DuckDB, error: str) -> str:
    """Who has a DuckDB file open."""
    # Not at the top: builds import this module, and need no driver of PostgreSQL.
    from loader.watch.board import board_of
    from loader.watch.status import is_alive

    status = board_of(warehouse.destination(raw_schema())).read()
    process = re.search(r"PID (\d+)", error)
    who = status["who"] if status and is_alive(status) else "another program"
    if process and process[1] not in who:
        who = f"{who} (process {process[1]})"
    return f"{warehouse.place} is in use by {who}."


def stored_runs(ask: Ask, last: int | None, run_id: str) -> list[RunRecord]:
    """The runs in the tables; none where there are no tables, or they lack what names a run."""
    there: dict[str, set[str]] = {}
    for table, column in ask(
        "select table_name, column_name from information_schema.columns"
        f" where table_schema = {literal(raw_schema())} and table_name in ('_runs', '_run_nodes')"
    ):
        there.setdefault(table, set()).add(column)

    def chosen(table: str) -> str:
        # Tables of an earlier version have fewer columns.
        known = there[table]
        return ", ".join(c if c in known else f"null as {c}" for c in RUN_TABLES[table])

    if not {"run_id", "started_at"} <= there.get("_runs", set()):
        return []
    where = f" where run_id = {literal(run_id)}" if run_id else ""
    rows = ask(
        f"select {chosen('_runs')} from {raw_schema()}._runs{where}"
        f" order by started_at desc, run_id desc{f' limit {last}' if last else ''}"
    )
    runs = [RunRecord(**dict(zip(RUN_TABLES["_runs"], row, strict=True))) for row in rows]
    if run_id and runs and "_run_nodes" in there:
        nodes = ask(f"select {chosen('_run_nodes')} from {raw_schema()}._run_nodes{where}")
        runs[0].nodes = [NodeRun(*row[1:]) for row in nodes]
    return runs


def listed(runs: Sequence[RunRecord]) -> Iterator[str]:
    """A line for each run."""
    header = f"{'run':<30}  {'command':<15}  {'began (UTC)':<16}  {'seconds':>9}  outcome"
    yield f"{header}      rows  tests"
    for run in runs:
        took = f"{run.seconds:,.1f}" if run.seconds is not None else "?"
        rows = f"{run.row_count:,}" if run.row_count is not None else ""
        tests = f"{run.test_count:,}" if run.test_count is not None else ""
        yield (
            f"{run.run_id:<30}  {run.command:<15}  {run.started_at:%Y-%m-%d %H:%M}  {took:>9}"
            f"  {run.outcome:<11}  {rows:>8}  {tests:>5}  {first_line(run.error)}"
        ).rstrip()


def shown(run: RunRecord) -> Iterator[str]:
    """One run, and what became of its nodes: what failed first, then what took longest."""
    yield f"{run.run_id}  {run.outcome}  {run.who}"
    ended = f"{run.ended_at:%Y-%m-%d %H:%M:%S} UTC" if run.ended_at else "not known"
    took = f", {run.seconds:,.1f} s" if run.seconds is not None else ""
    yield f"began {run.started_at:%Y-%m-%d %H:%M:%S} UTC, ended {ended}{took}"
    yield f"code {run.code_version or 'not known'}, load {run.load_batch_id or 'none'}"
    if run.error:
        yield f"error: {run.error}"
    if not run.nodes:
        yield "no model, test, snapshot, seed or source is recorded of it"
        return
    order = sorted(run.nodes, key=lambda n: (n.outcome in GOOD, -(n.seconds or 0), n.name))
    width = max(len(node.name) for node in order)
    yield ""
    yield f"{'name':<{width}}  {'kind':<8}  {'outcome':<9}  {'seconds':>8}      rows"
    for node in order:
        rows = f"{node.rows:,}" if node.rows is not None else ""
        yield (
            f"{node.name:<{width}}  {node.kind:<8}  {node.outcome:<9}  {node.seconds or 0:>8,.2f}"
            f"  {rows:>8}  {first_line(node.message)}"
        ).rstrip()


def first_line(text: str | None) -> str:
    """As much of a message as a line has room for."""
    line = " ".join((text or "").split())
    return line if len(line) <= 100 else f"{line[:97]}..."


def as_json(run: RunRecord, *, nodes: bool) -> str:
    """A run for programs; times are UTC."""
    values: dict[str, Any] = asdict(run)
    if not nodes:
        del values["nodes"]

    def plain(value: Any) -> Any:
        return value.isoformat() if isinstance(value, datetime) else float(value)

    return json.dumps(values, default=plain)


def main(arguments: Sequence[str] | None = None) -> int:
    """List the last runs, or show one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--last", default="20", help="how many runs [20]")
    parser.add_argument("--id", help="the one run to show")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each run")
    given = parser.parse_args(arguments)
    os.chdir(PROJECT)
    try:
        if given.id == "":
            raise NoRunError("give the run: make run ID=..., as make runs lists it.")
        if not given.last.isdecimal() or int(given.last) < 1:
            raise NoRunError(f"LAST is a number of runs, such as 20, not {given.last}.")
        warehouse = chosen_warehouse()
        found = seen(warehouse, int(given.last), given.id or "")
        if given.id and not found.runs:
            raise NoRunError(
                f"there is no run {given.id} in {warehouse.label}: make runs lists the runs."
                f" {found.note}".rstrip()
            )
    except NoRunError as error:
        print(f"make {'run' if given.id is not None else 'runs'}: {error}", file=sys.stderr)
        return USAGE
    except (LoadError, ProfileError, WarehouseError) as error:
        print(f"make runs: {error}", file=sys.stderr)
        return 1
    if found.note:
        print(f"make runs: {found.note}", file=sys.stderr)
    if given.json:
        lines = [as_json(run, nodes=bool(given.id)) for run in found.runs]
    elif given.id:
        lines = list(shown(found.runs[0]))
    else:
        lines = list(listed(found.runs)) if found.runs else [f"{warehouse.label} has no run."]
    try:
        print("\n".join(lines), flush=True)
    except BrokenPipeError:
        # Its reader went away, as `head` does. At its end Python would write what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
