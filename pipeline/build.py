"""What `make build` runs: load the shop, build and test every model, write catalog and report.

    python scripts/build.py            everything
    python scripts/build.py --loaded   without a load: for a user who may only build
    python scripts/build.py --prepare  only what dbt needs to start: its packages and a profile

It builds and tests what hangs on what has changed since the last green build, and without a change
nothing; BUILD=all builds and tests everything.
SOURCE, TARGET, DUCKDB_PATH and the libpq variables name the shop and the warehouse, AS_OF_DATE the
day that the marts take for today; see `make help`.
dbt runs in this one process. Exit status: 0 all green, 1 something failed, 75 another run is
writing into the warehouse (WAIT=600 waits up to 600 seconds for it).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from loader import LoadError
from loader.config import Config, find_config
from loader.contract import ContractError
from loader.errors import BusyError
from loader.lock import BUSY
from loader.urls import with_password
from pages.catalog import store_catalog
from pages.start import are_pages_of, note_build, note_check, note_failure
from pipeline.changes import (
    Changes,
    Inputs,
    Wanted,
    WantedError,
    changes_since,
    inputs,
    note_green_build,
    selected,
    wanted,
    with_others,
)
from pipeline.dbt_packages import PackageError, install_packages
from pipeline.dbt_runner import Dbt, DbtError, Node, Result, Run, close_connections
from pipeline.findings import warning_lines, with_rows
from pipeline.project import MADE, PROJECT, project_settings, raw_schema, schema_name
from pipeline.record import (
    accepted_of,
    commit,
    last_good_load,
    last_load,
    outcomes_of,
    owners_of,
)
from pipeline.shop import SAMPLE_URL, OtherShopError, load_shop, make_sample, refuse_other_shop
from pipeline.steps import Steps
from pipeline.summary import (
    Figure,
    accepted_lines,
    accepted_rows,
    closing_lines,
    count_line,
    failure_paragraphs,
    figure_lines,
    figures_of,
    figures_query,
    freshness_line,
    left_out_lines,
    nothing_lines,
    rebuilt_lines,
    works_beside,
    written_line,
)
from pipeline.warehouse import ProfileError, Warehouse, WarehouseError, chosen_warehouse
from pipeline.working_copy import CopyError, WorkingCopy
from sample_shop.shop import ShopError

if TYPE_CHECKING:
    from pipeline.publish import Publisher


class BuildError(RuntimeError):
    """The build cannot start; the text says why and what to do."""


# What a person can mend. Each is printed as one sentence.
MISTAKES = (
    *(BuildError, CopyError, DbtError, LoadError, OtherShopError, PackageError, ProfileError),
    *(ShopError, WantedError),
)


def given_day() -> str:
    """The day in AS_OF_DATE; empty where it is. Raises BuildError."""
    given = os.environ.get("AS_OF_DATE", "")
    try:
        return str(date.fromisoformat(given)) if given else ""
    except ValueError:
        raise BuildError(f"AS_OF_DATE is a day such as 2026-11-20, not {given}.") from None


def refuse_other_schema(config: Config) -> None:
    """Raise BuildError when the loader would write to another schema than dbt reads."""
    if config.raw_schema not in (None, raw_schema()):
        raise BuildError(
            f"The loader's configuration says raw_schema: {config.raw_schema}, but dbt reads"
            f" {raw_schema()}: leave it out, or change raw_schema in dbt_project.yml too."
        )


@dataclass(frozen=True)
class Settings:
    """What a person has set for a build: the loader's file, the day, and how much to build."""

    config: Config
    day: str
    wanted: Wanted

    @property
    def variables(self) -> list[str]:
        """The options of dbt that name the day."""
        return ["--vars", json.dumps({"as_of_date": self.day})] if self.day else []


def given_settings() -> Settings:
    """The settings, validated before anything is loaded. Raises one of MISTAKES."""
    settings = Settings(find_config(), given_day(), wanted())
    refuse_other_schema(settings.config)
    return settings


def prepare(steps: Steps) -> Warehouse:
    """Give dbt its packages and a profile; returns the warehouse that the profile means.

    Raises PackageError, ProfileError, LoadError.
    """
    with steps.step("packages") as notes:
        notes.append(install_packages(PROJECT))
    return chosen_warehouse()


def build(steps: Steps, settings: Settings, copy: WorkingCopy, *, loaded: bool) -> bool:
    """Load the shop, and build what has changed; True when all is green. Raises one of MISTAKES.

    `loaded`: without a load, for a user who may only build.
    """
    began = datetime.now(UTC)
    warehouse = copy.warehouse
    given = os.environ.get("SOURCE") or settings.config.source
    url = with_password(given) if given else SAMPLE_URL
    sample = not given and not loaded
    if not loaded:
        refuse_other_shop(warehouse, url, sample=sample)
    # Before anything is read: what is changed meanwhile is built by the next build.
    now = inputs(warehouse, settings.day)
    if sample:
        make_sample(steps)
    warehouse = copy.make(steps)
    if not loaded:
        load_shop(steps, warehouse, url, settings.config.options)
    changes = changes_since(warehouse, now, settings.wanted)
    has_pages = changes.since is not None and are_pages_of(
        warehouse.made, changes.since.finished_at
    )
    # Read now: dbt holds a DuckDB file until the end.
    load = last_load(warehouse, raw_schema())
    if changes.is_nothing and has_pages:
        publish(steps, copy, green=True)
        say_nothing_has_changed(copy.warehouse, changes, load, sample=sample)
        green = True
    else:
        facts = {"load": load, "accepted": accepted_of(settings.config.options.accept)}
        work = Work(steps, copy, warehouse, settings, now, changes, has_pages, began, facts)
        green = build_changes(work, sample=sample)
    print(f"\n{'Green' if green else 'FAILED'} after {time.monotonic() - steps.started:.1f} s.")
    return green


def say_nothing_has_changed(
    warehouse: Warehouse, changes: Changes, load: dict[str, Any] | None, *, sample: bool
) -> None:
    """Say that there is nothing to build, and again what the last build warned of."""
    assert changes.since
    paragraphs = [nothing_lines(changes), *failure_paragraphs(changes.since.warned)]
    try:
        accepted = note_check(warehouse.made, load)
    except OSError as error:
        accepted = []
        paragraphs.append([f"WARNING: the start page is not written: {error}"])
    show(
        [*paragraphs, accepted_lines(accepted), closing_lines(warehouse, sample=sample, green=True)]
    )


@dataclass(frozen=True)
class Work:
    """A build that has something to do, in `warehouse`, which may be a copy.

    `has_pages`: all pages are of the last green build.
    """

    steps: Steps
    copy: WorkingCopy
    warehouse: Warehouse
    settings: Settings
    now: Inputs
    changes: Changes
    has_pages: bool
    began: datetime
    facts: dict[str, Any]


def build_changes(work: Work, *, sample: bool) -> bool:
    """Build and test what has changed, and write the pages. Raises DbtError."""
    steps, copy, warehouse, changes = work.steps, work.copy, work.warehouse, work.changes
    with steps.step("dbt parse"):
        dbt = Dbt(warehouse.options, steps.progress, work.settings.variables, warehouse.file)
        nodes = dbt.nodes()
    built, tested = build_models(steps, dbt, warehouse, nodes, changes)
    with steps.step("freshness") as notes:
        fresh = freshness(dbt, nodes, changes)
        notes.append(freshness_line(fresh.results))
    is_complete = True
    if not work.has_pages:
        with steps.step("catalog") as notes:
            # To compile again would lead the queries of failed tests to what is published.
            failed_beside = works_beside(warehouse) and not built.succeeded
            is_complete = dbt.write_catalog(is_compiled=changes.since is None or failed_beside)
            notes.append(
                publish_catalog(warehouse) if is_complete else "incomplete: see logs/dbt.log"
            )
    with steps.step("figures"):
        results = with_rows(dbt, [*built.results, *fresh.results])
        if changes.since:
            results = with_others(results, nodes, changes.since)
        # DuckDB does not open a file for reading that dbt, in this process, has open for writing.
        close_connections()
        schemas = {name: schema_name(warehouse.schema, name) for name in ("marts", "seeds")}
        query = figures_query([mart.name for mart in dbt.marts()], schemas)
        figures = figures_of(warehouse.ask(query))
    green = built.succeeded and fresh.succeeded and is_complete
    paragraphs = [figure_lines(figures, results)]
    ended = ""
    try:
        ended = note_green_build(warehouse, work.now, changes.load, results) if green else ""
    except WarehouseError as error:
        paragraphs.append([f"WARNING: the next build builds everything again: {error}"])
    publish(steps, copy, green=green)
    warehouse = copy.warehouse
    with steps.step("report") as notes:
        warnings = warning_lines(results)
        notes.append(publish_report(warehouse, warnings, is_good=green))
    facts = {
        "green": green,
        "build": ended,
        "tested": tested,
        "warnings": warnings,
        **work.facts,
        **outcomes_of(results, copy.failed),
        **owners_of(dbt, figures),
        **settings_of(copy, figures),
    }
    try:
        note_build(warehouse.made, work.began, facts)
    except OSError as error:
        paragraphs.append([f"WARNING: the start page is not written: {error}"])
    paragraphs += [
        *failure_paragraphs(results, copy.failed, beside=works_beside(warehouse)),
        accepted_lines(accepted_rows(figures)),
        closing_lines(warehouse, sample=sample, green=green, failed=copy.failed),
    ]
    show(paragraphs)
    return green


def show(paragraphs: Sequence[Sequence[str]]) -> None:
    """Print paragraphs."""
    print("\n" + "\n\n".join("\n".join(lines) for lines in paragraphs if lines))


def build_models(
    steps: Steps, dbt: Dbt, warehouse: Warehouse, nodes: Sequence[Node], changes: Changes
) -> tuple[Run, list[str]]:
    """Build and test what has changed; returns what dbt did, and lines about it."""
    publisher = publisher_of(dbt, warehouse)
    if publisher:
        with steps.step("working copy") as notes:
            notes += publisher.prepared_lines()
    with steps.step("dbt build") as notes:
        os.environ["TESTED_THROUGH"] = changes.tested_through
        # The results of unit tests depend on the code alone.
        arguments = ("--exclude-resource-type", "unit_test") if changes.same_code else ()
        with dbt.built_in(publisher.schema) if publisher else contextlib.nullcontext():
            if changes.since:
                built = dbt.build_some([node.id for node in selected(nodes, changes)], *arguments)
            else:
                built = dbt.build(*arguments)
        left_out = left_out_lines(built.results, nodes, changes)
        tested = [line for line in (written_line(built.results), *left_out) if line]
        notes += [count_line(built.results), *rebuilt_lines(built.results), *tested]
    if publisher:
        with steps.step("publish") as notes:
            notes += publisher.published_lines(is_good=built.succeeded)
    return built, tested


def publisher_of(dbt: Dbt, warehouse: Warehouse) -> Publisher | None:
    """What publishes a build on PostgreSQL; None where each model is visible once it is made."""
    if not works_beside(warehouse):
        return None
    from pipeline.publish import Publisher  # with the driver, which is slow to import

    return Publisher(warehouse, dbt.relations())


def publish(steps: Steps, copy: WorkingCopy, *, green: bool) -> None:
    """Replace a DuckDB file by the copy that was built, or set that aside. Raises CopyError."""
    if copy.is_made:
        with steps.step("publish") as notes:
            notes += copy.publish() if green else copy.set_aside()


def freshness(dbt: Dbt, nodes: Sequence[Node], changes: Changes) -> Run:
    """How fresh the sources are: what the load has just confirmed is, and dbt judges the others."""
    judged = [node for node in nodes if node.is_judged]
    load = changes.load
    if changes.since is None or load is None or not {n.table for n in judged} <= load.confirmed:
        return dbt.freshness()
    return Run(True, [Result(n.name, "source", "pass", loaded_at=load.finished_at) for n in judged])


def settings_of(copy: WorkingCopy, figures: Sequence[Figure]) -> dict[str, Any]:
    """What was built and where, for the start page."""
    project = project_settings()
    return {
        "project": f"{project['name']} {project['version']}",
        "commit": commit(PROJECT),
        "warehouse": copy.label,
        "accepted_rows": accepted_rows(figures),
        "data_through": next((f.name for f in figures if f.topic == "data through"), "unknown"),
    }


def publish_catalog(warehouse: Warehouse) -> str:
    """Put dbt's catalog where people look; returns the note of the step."""
    try:
        return store_catalog(MADE, warehouse.made)
    except OSError as error:
        # Failing to write a page never fails the build.
        return f"WARNING: not written: {error}"


def publish_report(warehouse: Warehouse, warnings: Sequence[str], *, is_good: bool) -> str:
    """Write the report of a good build; returns the note of the step."""
    if not is_good:
        return "not written: the build failed (make report writes it all the same)"
    try:
        # Its parts are needed by a build that has something to do.
        from pipeline.report import write_report

        return write_report(warehouse, warnings=warnings)
    except Exception as error:  # failing to write a page never fails the build
        return f"WARNING: not written: {' '.join(str(error).split())}"


def standing(warehouse: Warehouse | None) -> str:
    """Of which load the warehouse is after a build that ended early; empty where nobody knows."""
    loaded = last_good_load(warehouse, raw_schema()) if warehouse else ""
    return (
        f" The warehouse {warehouse.label} holds the load of {loaded}."
        if warehouse and loaded
        else ""
    )


def say(text: str) -> None:
    """Tell the person at the terminal, or who reads the log."""
    print(f"make build: {text}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None, *, started: float | None = None) -> int:
    """Run the build; every mistake that a person can mend is one sentence.

    `started` is the monotonic time at which the command began, before its imports.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--loaded", action="store_true", help="without a load")
    parser.add_argument("--prepare", action="store_true", help="only packages and profile")
    options = parser.parse_args(arguments)
    os.chdir(PROJECT)
    started = started or time.monotonic()
    steps = Steps(started)
    warehouse: Warehouse | None = None
    copy: WorkingCopy | None = None
    try:
        with steps.step("start", since=started):
            pass
        if options.prepare:
            prepare(steps)
            return 0
        settings = given_settings()
        warehouse = prepare(steps)
        copy = WorkingCopy(warehouse)
        alone = warehouse.destination(raw_schema()).alone("make build", say)
        with alone, copy:
            return 0 if build(steps, settings, copy, loaded=options.loaded) else 1
    except BusyError as error:
        say(str(error))
        return BUSY
    except MISTAKES as error:
        said = f"{error}{standing(warehouse)}{copy.remains if copy else ''}"
        say(said)
        # Settings that cannot be read may mean any warehouse; without any it is the default one.
        if warehouse or not (os.environ.get("TARGET") or os.environ.get("DUCKDB_PATH")):
            made, label = (warehouse.made, warehouse.label) if warehouse else (MADE, "the shop")
            gone = error.gone if isinstance(error, ContractError) else ()
            with contextlib.suppress(OSError):  # the sentence above matters more
                note_failure(made, said, label, gone)
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except BrokenPipeError:
        # Its reader went away, as `head` does. At its end Python would write what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print("make build: interrupted, because nobody reads what it prints", file=sys.stderr)
        return 1
