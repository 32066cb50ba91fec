"""What `make build` runs: load the shop, build and test every model, write catalog and report.

    python scripts/build.py            everything
    python scripts/build.py --prepare  only what dbt needs to start: its packages and a profile

SOURCE, TARGET, DUCKDB_PATH and the libpq variables name the shop and the warehouse, AS_OF_DATE the
day that the marts take for today; see `make help`.
dbt runs in this one process. Exit status: 0 all green, 1 something failed.
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
from typing import Any

from loader import LoadError
from loader.config import Config, find_config
from loader.contract import ContractError
from loader.urls import with_password
from pages.catalog import store_catalog
from pages.start import note_build, note_failure
from pipeline.dbt_packages import PackageError, install_packages
from pipeline.dbt_runner import Dbt, DbtError, Run, close_connections
from pipeline.findings import warning_lines, with_rows
from pipeline.project import MADE, PROJECT, project_settings, raw_schema
from pipeline.record import (
    accepted_of,
    commit,
    last_good_load,
    last_load,
    outcomes_of,
    owners_of,
)
from pipeline.report import write_report
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
    rebuilt_lines,
    tested_lines,
    written_line,
)
from pipeline.tested import TestsValueError, tested_before, wanted_tests
from pipeline.warehouse import ProfileError, Warehouse, chosen_warehouse
from sample_shop.shop import ShopError


class BuildError(RuntimeError):
    """The build cannot start; the text says why and what to do."""


# What a person can mend. Each is printed as one sentence.
MISTAKES = (
    *(BuildError, DbtError, LoadError, OtherShopError, PackageError, ProfileError, ShopError),
    TestsValueError,
)


def variables() -> list[str]:
    """dbt's option for the day in AS_OF_DATE; none where it is empty. Raises BuildError."""
    given = os.environ.get("AS_OF_DATE", "")
    if not given:
        return []
    try:
        return ["--vars", json.dumps({"as_of_date": str(date.fromisoformat(given))})]
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
    """What a person has set for a build: the loader's file, options of dbt, and which tests."""

    config: Config
    variables: list[str]
    tests: str


def given_settings() -> Settings:
    """The settings, validated before anything is loaded. Raises one of MISTAKES."""
    settings = Settings(find_config(), variables(), wanted_tests())
    refuse_other_schema(settings.config)
    return settings


def prepare(steps: Steps) -> Warehouse:
    """Give dbt its packages and a profile; returns the warehouse that the profile means.

    Raises PackageError, ProfileError, LoadError.
    """
    with steps.step("packages") as notes:
        notes.append(install_packages(PROJECT))
    return chosen_warehouse()


def build(steps: Steps, settings: Settings, warehouse: Warehouse) -> bool:
    """Run every step; True when all is green. Raises one of MISTAKES."""
    began = datetime.now(UTC)
    config = settings.config
    given = os.environ.get("SOURCE") or config.source
    url = with_password(given) if given else SAMPLE_URL
    refuse_other_shop(warehouse, url, sample=not given)
    if not given:
        make_sample(steps)
    load_shop(steps, warehouse, url, config.options)
    # Read now: dbt holds a DuckDB file until the end.
    load = last_load(warehouse, raw_schema())

    with steps.step("dbt parse"):
        dbt = Dbt([*warehouse.options, *settings.variables], steps.progress)
    built, tested = build_models(steps, dbt, warehouse, settings.tests)
    with steps.step("freshness") as notes:
        fresh = dbt.freshness()
        notes.append(freshness_line(fresh.results))
    with steps.step("catalog") as notes:
        is_complete = dbt.write_catalog()
        notes.append(publish_catalog(warehouse) if is_complete else "incomplete: see logs/dbt.log")
    with steps.step("figures"):
        figures = figures_of(dbt.query(figures_query(mart.name for mart in dbt.marts())))
        results = with_rows(dbt, [*built.results, *fresh.results])
    with steps.step("report") as notes:
        warnings = warning_lines(results)
        notes.append(publish_report(warehouse, warnings, is_good=built.succeeded))

    green = built.succeeded and fresh.succeeded and is_complete
    paragraphs = [figure_lines(figures, results)]
    facts = {
        "green": green,
        "load": load,
        "tested": tested,
        "accepted": accepted_of(config.options.accept),
        "warnings": warnings,
        **outcomes_of(results),
        **owners_of(dbt, figures),
        **settings_of(warehouse, figures),
    }
    try:
        note_build(warehouse.made, began, facts)
    except OSError as error:
        paragraphs.append([f"WARNING: the start page is not written: {error}"])
    paragraphs += [
        *failure_paragraphs(results),
        accepted_lines(figures),
        closing_lines(warehouse, sample=not given, green=green),
    ]
    print("\n" + "\n\n".join("\n".join(lines) for lines in paragraphs if lines))
    print(f"\n{'Green' if green else 'FAILED'} after {time.monotonic() - steps.started:.1f} s.")
    return green


def build_models(
    steps: Steps, dbt: Dbt, warehouse: Warehouse, wanted: str
) -> tuple[Run, list[str]]:
    """Build and test the models; returns what dbt did, and lines about what was tested."""
    with steps.step("dbt build") as notes:
        known, code_is_good = tested_before(dbt, warehouse, wanted)
        os.environ.update(known)
        # The results of unit tests depend on the code alone.
        unit_tests = ("--exclude-resource-type", "unit_test") if code_is_good else ()
        built = dbt.build(*unit_tests)
        left_out = tested_lines(code_is_good, known["TESTED_THROUGH"])
        tested = [line for line in (written_line(built.results), *left_out) if line]
        notes += [count_line(built.results), *rebuilt_lines(built.results), *tested]
    return built, tested


def settings_of(warehouse: Warehouse, figures: Sequence[Figure]) -> dict[str, Any]:
    """What was built and where, for the start page."""
    project = project_settings()
    return {
        "project": f"{project['name']} {project['version']}",
        "commit": commit(PROJECT),
        "warehouse": warehouse.label,
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
        # DuckDB does not open a file for reading that dbt, in this process, has open for writing.
        close_connections()
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


def main(arguments: Sequence[str] | None = None, *, started: float | None = None) -> int:
    """Run the build; every mistake that a person can mend is one sentence.

    `started` is the monotonic time at which the command began, before its imports.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--prepare", action="store_true", help="only packages and profile")
    options = parser.parse_args(arguments)
    os.chdir(PROJECT)
    started = started or time.monotonic()
    steps = Steps(started)
    warehouse: Warehouse | None = None
    try:
        with steps.step("start", since=started):
            pass
        if options.prepare:
            prepare(steps)
            return 0
        settings = given_settings()
        warehouse = prepare(steps)
        return 0 if build(steps, settings, warehouse) else 1
    except MISTAKES as error:
        said = f"{error}{standing(warehouse)}"
        print(f"make build: {said}", file=sys.stderr)
        # Settings that cannot be read may mean any warehouse; without any it is the default one.
        if warehouse or not (os.environ.get("TARGET") or os.environ.get("DUCKDB_PATH")):
            made, label = (warehouse.made, warehouse.label) if warehouse else (MADE, "the shop")
            gone = error.gone if isinstance(error, ContractError) else ()
            with contextlib.suppress(OSError):  # the sentence above matters more
                note_failure(made, said, label, gone)
        return 1
    except KeyboardInterrupt:
        print("make build: interrupted", file=sys.stderr)
        return 130
