"""A build that has something to do: it builds and tests what has changed, and writes the pages."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from loader.history import History
from pages.catalog import store_catalog
from pages.start import mark_unmet, note_build
from pipeline.changes import Changes, Inputs, note_green_build
from pipeline.dbt_runner import Dbt, Node, Parsed, Result, Run, close_connections
from pipeline.expectations import Expectations, Finding, by_table, overruled
from pipeline.findings import warning_lines, with_rows
from pipeline.incidents import FAILED, Observed, Seen
from pipeline.project import PROJECT, project_settings, raw_schema, schema_name
from pipeline.record import commit, outcomes_of, owners_of
from pipeline.runs import nodes_of, note_failures
from pipeline.selection import selected, with_others
from pipeline.settings import Settings
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
    rebuilt_lines,
    show,
    unmet_lines,
    written_line,
)
from pipeline.telling import marts_below, seen_in
from pipeline.warehouse import Warehouse, WarehouseError
from pipeline.working_copy import WorkingCopy

if TYPE_CHECKING:
    from pipeline.publish import Publisher


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
    history: History
    expectations: Expectations
    unmet: Sequence[Finding]
    observed: Observed


def build_changes(work: Work, *, sample: bool) -> bool:
    """Build and test what has changed, and write the pages. Raises DbtError."""
    steps, copy, warehouse, changes = work.steps, work.copy, work.warehouse, work.changes
    work.history.prepare(warehouse.destination(raw_schema()))
    parsed = Parsed(warehouse.made / "parsed.pickle", f"{work.now.fingerprint} {PROJECT}")
    if changes.since is None:
        parsed.forget()
    with steps.step("dbt parse"):
        dbt = Dbt(
            warehouse.options, steps.progress, work.settings.variables, warehouse.file, parsed
        )
        nodes = dbt.nodes()
    built, tested = build_models(steps, dbt, warehouse, nodes, changes)
    with steps.step("freshness") as notes:
        fresh = overruled(freshness(dbt, nodes, changes), work.expectations, work.unmet)
        notes.append(freshness_line(fresh.results))
    work.history.run.add(nodes_of([*built.results, *fresh.results]))
    is_complete = True
    if not work.has_pages:
        with steps.step("catalog") as notes:
            # To compile again would lead the queries of failed tests to what is published.
            failed_beside = warehouse.works_beside and not built.succeeded
            is_compiled = changes.since is None or failed_beside
            # Not where another warehouse's build may write its own at the same time.
            is_complete = dbt.write_catalog(warehouse.made, is_compiled=is_compiled)
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
        query = figures_query(
            [mart.name for mart in dbt.marts()], schemas, is_proven=built.succeeded
        )
        figures = figures_of(warehouse.ask(query))
    green = built.succeeded and fresh.succeeded and is_complete
    paragraphs = [figure_lines(figures, results)]
    ended = ""
    try:
        ended = note_green_build(warehouse, work.now, changes.load, results) if green else ""
    except WarehouseError as error:
        paragraphs.append([f"WARNING: the next build builds everything again: {error}"])
    if not green:
        note_failures(work.history.run, is_complete=is_complete)
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
    below = marts_below(nodes, {mart.id: mart.name for mart in dbt.marts()})
    facts["below"] = {source.name: below(source) for source in fresh.results}
    mark_unmet(facts, by_table(work.unmet), work.expectations.of)
    work.observed.seen = [
        replace(one, marts=facts["below"].get(one.subject, ())) for one in work.observed.seen
    ]
    seen_in(results, below, work.observed)
    if not is_complete:
        work.observed.seen.append(Seen(FAILED, "catalog", "dbt could not write it: logs/dbt.log"))
    try:
        note_build(warehouse.made, work.began, facts)
    except OSError as error:
        paragraphs.append([f"WARNING: the start page is not written: {error}"])
    paragraphs += [
        *failure_paragraphs(results, copy.failed, beside=warehouse.works_beside),
        unmet_lines(work.unmet),
        accepted_lines(accepted_rows(figures)),
        closing_lines(warehouse, sample=sample, green=green, failed=copy.failed),
    ]
    show(paragraphs)
    return green


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
        os.environ["WARNED_BEFORE"] = " ".join(sorted(changes.warned))
        os.environ["BUILT_THROUGH"] = changes.since.loaded_through if changes.since else ""
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
    if not warehouse.works_beside:
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
        return store_catalog(warehouse.made, PROJECT)
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
