"""Take the versions that one load brought back out of the history: what `make undo-load` runs.

    python scripts/undo_load.py                      lists the last loads and their versions
    python scripts/undo_load.py BATCH                counts what would be taken back
    python scripts/undo_load.py BATCH --apply "why"  takes it back, and calculates the marts again

First mend the shop and load it again: else the next build brings the same versions once more. Only
the schema `snapshots` is changed, and each time that is recorded in its table `undone_loads`.
Of the loader's `_load_commits` goes what the load wrote.
TARGET and the other variables of `make build` name the warehouse. Exit status: 0 done, 1 not, 75
while another run writes into the warehouse.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from loader import LoadError
from loader.audit import COMMIT_TABLES
from loader.config import find_config
from loader.destinations.sql import SqlDestination
from loader.dialects.standard import literal, quote
from loader.errors import BusyError
from loader.history import History, recorded
from loader.lock import BUSY
from pipeline.changes import record_of
from pipeline.dbt_packages import PackageError, install_packages
from pipeline.dbt_runner import Dbt, DbtError, close_connections
from pipeline.dbt_runner import Run as Built
from pipeline.project import PROJECT, raw_schema, schema_name
from pipeline.runs import nodes_of, note_failures
from pipeline.steps import Steps
from pipeline.summary import count_line, failure_paragraphs
from pipeline.target import chosen_warehouse
from pipeline.warehouse import ProfileError, Warehouse

Run = Callable[[str], list[tuple[Any, ...]]]
COMMAND = "make undo-load"
LISTED = 10  # loads that are shown


class UndoError(RuntimeError):
    """A load cannot be taken back; the text says why and what to do."""


@dataclass(frozen=True)
class Snapshot:
    """A snapshot: its table, the staging view that it reads, its key, what makes versions."""

    name: str
    staging: str
    key: str
    checked: Sequence[str]


@dataclass(frozen=True)
class Undone:
    """What was, or would be, done to one snapshot.

    `rejoined`: later versions that say what the one before the load said. `returning`: rows that
    staging has as the load wrote them.
    """

    snapshot: str
    removed: int
    reopened: int
    rejoined: int
    returning: int


def snapshots_of(project: Path = PROJECT) -> list[Snapshot]:
    """The snapshots that the project's YAML defines."""
    found = []
    for file in sorted((project / "snapshots").glob("*.yml")):
        for entry in yaml.safe_load(file.read_text("utf-8"))["snapshots"]:
            staging = entry["relation"].removeprefix("ref('").removesuffix("')")
            config = entry["config"]
            found.append(
                Snapshot(entry["name"], staging, config["unique_key"], config["check_cols"])
            )
    return found


@contextmanager
def transaction(warehouse: Warehouse, *, keep: bool) -> Iterator[Run]:
    """How to run statements, all of them in one transaction that is kept or rolled back."""
    with closing(warehouse.connect()) as connection:
        if hasattr(connection, "autocommit"):
            connection.autocommit = True  # the statements below say where it begins and ends
        with closing(connection.cursor()) as cursor:

            def run(sql: str) -> list[tuple[Any, ...]]:
                cursor.execute(sql)
                return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

            run("begin")
            try:
                yield run
            except BaseException:
                run("rollback")
                raise
            run("commit" if keep else "rollback")


def undo(warehouse: Warehouse, batch: str, because: str, *, apply: bool) -> list[Undone]:
    """Take back what a load brought; without `apply` only count. Raises UndoError."""
    where = f"{warehouse.kind} {warehouse.place}"
    try:
        with transaction(warehouse, keep=apply) as run:
            loads = run(
                "select started_at, status, (select min(started_at) from"
                f" {quote(raw_schema())}._load_runs where status = 'succeeded')"
                f" from {quote(raw_schema())}._load_runs where batch_id = {literal(batch)}"
            )
            if not loads or loads[0][1] != "succeeded":
                raise UndoError(
                    f"{batch} is not a load that succeeded in {where}: make undo-load without LOAD"
                    " lists the last ones."
                )
            if loads[0][0] == loads[0][2]:
                raise UndoError(
                    f"{batch} is the first load of {where}: every history begins with it, so it"
                    " cannot be taken back. Nothing was changed."
                )
            found = [
                _undo(run, warehouse, snapshot, batch, loads[0][0]) for snapshot in snapshots_of()
            ]
            _forget_commits(run, warehouse, batch)
            if apply:
                _record(run, warehouse, batch, because, found)
                # The marts are not of this history until they are built.
                run(f"drop table if exists {record_of(warehouse)}")
            return found
    except UndoError:
        raise
    except Exception as error:  # each driver has its own errors
        said = str(error).strip().partition("\n")[0].rstrip(".")
        raise UndoError(f"{where}: {said}. Nothing was changed.") from None


def _forget_commits(run: Run, warehouse: Warehouse, batch: str) -> None:
    """Remove when rows that the load brought were committed, where the user may write there.

    Older loaders made no such table, but the models that are calculated next read it.
    """
    schema = raw_schema()
    commits = f"{quote(schema)}._load_commits"
    if not run(
        "select 1 from information_schema.tables where table_name = '_load_commits'"
        f" and table_schema = {literal(schema)}"
    ):
        destination = warehouse.destination(schema)
        assert isinstance(destination, SqlDestination)
        columns = destination.defined(COMMIT_TABLES["_load_commits"])
        run(f"create table if not exists {commits} ({columns})")
    elif run(f"select 1 where has_table_privilege({literal(commits)}, 'delete')"):
        run(f"delete from {commits} where batch_id = {literal(batch)}")


def commit_lines(warehouse: Warehouse, batch: str, *, applied: bool) -> list[str]:
    """What is left of these times, or would be removed, for people."""
    commits = f"{quote(raw_schema())}._load_commits"
    rows = warehouse.ask(f"select count(*) from {commits} where batch_id = {literal(batch)}")
    if not rows or not rows[0][0]:
        return []
    if applied:
        return [
            f"WARNING: {rows[0][0]:,} times of commits that this load wrote stay in {commits}:"
            " this user may not delete there. They count again for orders that return."
        ]
    return [f"  {rows[0][0]:,} times of commits would be removed from {commits}"]


def _undo(
    run: Run, warehouse: Warehouse, snapshot: Snapshot, batch: str, began: datetime
) -> Undone:
    table = f"{quote(schema_name(warehouse.schema, 'snapshots'))}.{quote(snapshot.name)}"
    staging = f"{quote(schema_name(warehouse.schema, 'staging'))}.{quote(snapshot.staging)}"
    key = quote(snapshot.key)
    run("drop table if exists _undone")
    # By the time of the load, or by what it wrote where a build came only after another load.
    run(
        f"create temporary table _undone as select distinct {key} as id, dbt_valid_from as since,"
        f" dbt_valid_to as until from {table} where dbt_valid_from = {literal(began)}"
        f" or (_batch_id = {literal(batch)} and dbt_is_deleted = 'False')"
    )
    removed = _count(run, f"from {table} as t where {_is_undone('t', key)}")
    if not removed:
        return Undone(snapshot.name, 0, 0, 0, 0)
    returning = _count(
        run,
        f"from {staging} where _batch_id = {literal(batch)} and {key} in (select id from _undone)",
    )
    reopened = _count(
        run,
        f"from {table} as t where dbt_valid_from < dbt_valid_to and not {_is_undone('t', key)} and"
        f" exists (select 1 from _undone as u where u.id = t.{key} and u.since = t.dbt_valid_to)",
    )
    meets = (
        f"u.id = t.{key} and u.since = t.dbt_valid_to and u.since < u.until"
        f" and t.dbt_valid_from < t.dbt_valid_to and not {_is_undone('t', key)}"
    )
    # Once for each of several versions in a row.
    while _count(run, f"from {table} as t inner join _undone as u on {meets}"):
        run(f"update {table} as t set dbt_valid_to = u.until from _undone as u where {meets}")
    run(f"delete from {table} as t where {_is_undone('t', key)}")
    _mend_deletions(run, table, key, batch)
    return Undone(
        snapshot.name, removed, reopened, _rejoin(run, table, key, snapshot.checked), returning
    )


def _is_undone(alias: str, key: str) -> str:
    return (
        f"exists (select 1 from _undone as x where x.id = {alias}.{key}"
        f" and x.since = {alias}.dbt_valid_from)"
    )


def _mend_deletions(run: Run, table: str, key: str, batch: str) -> None:
    """A row that is gone keeps its last values: these are now those before the load."""
    assign = ", ".join(f"{quote(name)} = p.{quote(name)}" for name in _columns(run, table))
    run(
        f"update {table} as t set {assign} from {table} as p where p.{key} = t.{key}"
        f" and p.dbt_valid_to = t.dbt_valid_from and t.dbt_is_deleted = 'True'"
        f" and t._batch_id = {literal(batch)}"
    )


def _columns(run: Run, table: str) -> list[str]:
    """The columns of a snapshot that the shop fills."""
    schema, _, name = table.partition(".")
    found = run(
        "select column_name from information_schema.columns"
        f" where table_schema = '{schema[1:-1]}' and table_name = '{name[1:-1]}'"
        " and column_name not like 'dbt!_%' escape '!' order by ordinal_position"
    )
    return [str(column) for (column,) in found]


def _rejoin(run: Run, table: str, key: str, checked: Sequence[str]) -> int:
    """Join a version to the one before it that says the same, now that nothing is between them."""
    same = " and ".join(
        f"(p.{quote(c)} = n.{quote(c)} or (p.{quote(c)} is null and n.{quote(c)} is null))"
        for c in checked
    )
    rejoined = 0
    while True:
        run("drop table if exists _same")
        run(
            f"create temporary table _same as select p.{key} as id, min(p.dbt_valid_from) as since,"
            f" min(n.dbt_valid_from) as next_since, min(n.dbt_valid_to) as until"
            f" from {table} as p inner join {table} as n"
            f" on p.{key} = n.{key} and p.dbt_valid_to = n.dbt_valid_from"
            f" inner join _undone as u on u.id = n.{key} and u.until = n.dbt_valid_from"
            f" where p.dbt_valid_from < p.dbt_valid_to and n.dbt_valid_from < n.dbt_valid_to"
            f" and p.dbt_is_deleted = n.dbt_is_deleted and {same} group by p.{key}"
        )
        joined = _count(run, "from _same")
        if not joined:
            return rejoined
        rejoined += joined
        run(
            f"update {table} as t set dbt_valid_to = s.until from _same as s"
            f" where s.id = t.{key} and s.since = t.dbt_valid_from"
            " and t.dbt_valid_from < t.dbt_valid_to"
        )
        run(
            f"delete from {table} as t where exists (select 1 from _same as s"
            f" where s.id = t.{key} and s.next_since = t.dbt_valid_from)"
        )


def _record(
    run: Run, warehouse: Warehouse, batch: str, because: str, found: Sequence[Undone]
) -> None:
    table = f"{quote(schema_name(warehouse.schema, 'snapshots'))}.undone_loads"
    run(
        f"create table if not exists {table} (batch_id varchar(100), undone_at timestamp,"
        " snapshot_name varchar(100), versions_removed integer, versions_reopened integer,"
        " versions_rejoined integer, because varchar(1000))"
    )
    now = literal(datetime.now(UTC).replace(tzinfo=None))
    for one in found:
        run(
            f"insert into {table} values ({literal(batch)}, {now}, {literal(one.snapshot)},"
            f" {one.removed}, {one.reopened}, {one.rejoined}, {literal(because)})"
        )


def _count(run: Run, rows: str) -> int:
    ((count,),) = run(f"select count(*) {rows}")
    return int(count)


def last_loads(warehouse: Warehouse) -> list[str]:
    """A line for each of the last loads: its batch, and how many versions began with it."""
    schema = schema_name(warehouse.schema, "snapshots")
    versions = " union all ".join(
        f"select dbt_valid_from from {quote(schema)}.{quote(snapshot.name)}"
        for snapshot in snapshots_of()
    )
    rows = warehouse.ask(
        "select runs.batch_id, runs.source, count(versions.dbt_valid_from)"
        f" from {quote(raw_schema())}._load_runs as runs left join ({versions}) as versions"
        " on runs.started_at = versions.dbt_valid_from where runs.status = 'succeeded'"
        f" group by runs.batch_id, runs.source order by runs.batch_id desc limit {LISTED}"
    )
    return [f"{batch}  {versions:>8,} versions  {source}" for batch, source, versions in rows]


def lines_of(found: Sequence[Undone], *, applied: bool) -> list[str]:
    """What was done, or would be, for people."""
    verb = "" if applied else "would be "
    lines = [
        f"  {one.snapshot:<24}{one.removed:>8,} versions {verb}removed, {one.reopened:,} before"
        f" them reopened, {one.rejoined:,} later ones that say the same joined to these"
        for one in found
        if one.removed
    ]
    lines += [
        f"WARNING: {one.returning:,} rows of {one.snapshot} are still as this load wrote them: the"
        " next build brings their versions again. Mend the shop and load it first, unless they are"
        " right."
        for one in found
        if one.returning
    ]
    return lines or ["  no version came with this load"]


def rebuild(warehouse: Warehouse) -> Built:
    """Calculate all models again: facts point to versions that are no more. Raises DbtError."""
    steps = Steps(time.monotonic())
    install_packages(PROJECT)
    with steps.step("dbt parse"):
        dbt = Dbt([*warehouse.options], steps.progress)
    with steps.step("dbt build") as notes:
        kinds = ("test", "unit_test", "snapshot", "seed")
        built = dbt.build("--full-refresh", "--exclude-resource-type", *kinds)
        notes.append(count_line(built.results))
    for lines in failure_paragraphs(built.results):
        print("\n".join(lines))
    return built


def say(text: str) -> None:
    """Tell the person at the terminal, or who reads the log."""
    print(f"make undo-load: {text}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """List loads, count, or take one back; a user's mistake is one sentence."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("batch", nargs="?", default="", help="the load, as _load_runs names it")
    parser.add_argument("--apply", metavar="WHY", default="", help="take it back, for this reason")
    options = parser.parse_args(arguments)
    os.chdir(PROJECT)
    try:
        warehouse = chosen_warehouse()
        if not options.batch:
            print("\n".join(last_loads(warehouse)) or f"{warehouse.label} has no load.")
            return 0
        if not options.apply:
            found = undo(warehouse, options.batch, "", apply=False)
            commits = commit_lines(warehouse, options.batch, applied=False)
            print("\n".join([warehouse.label, *lines_of(found, applied=False), *commits]))
            print(
                f'Nothing was changed. make undo-load LOAD={options.batch} BECAUSE="..." does it.'
            )
            return 0
        destination = warehouse.destination(raw_schema())
        history = History(destination, say, find_config().keep_runs)
        with destination.alone(COMMAND, say), recorded(history, COMMAND) as run:
            run.load_batch_id = options.batch
            found = undo(warehouse, options.batch, options.apply, apply=True)
            commits = commit_lines(warehouse, options.batch, applied=True)
            print("\n".join([warehouse.label, *lines_of(found, applied=True), *commits]))
            built = rebuild(warehouse)
            run.add(nodes_of(built.results))
            close_connections()
            if not built.succeeded:
                note_failures(run)
            return 0 if built.succeeded else 1
    except BusyError as error:
        say(str(error))
        return BUSY
    except (DbtError, LoadError, PackageError, ProfileError, UndoError) as error:
        say(str(error))
        return 1
