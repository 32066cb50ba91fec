"""What `make build` runs: load the shop, build and test every model, write catalog and report.

    python scripts/build.py            everything
    python scripts/build.py --loaded   without a load: for a user who may only build
    python scripts/build.py --prepare  only what dbt needs to start: its packages and a profile

It builds and tests what hangs on what has changed since the last green build, and without a change
nothing; BUILD=all builds and tests everything.
SOURCE, TARGET, DUCKDB_PATH and the libpq variables name the shop and the warehouse, AS_OF_DATE the
day that the marts take for today; see `make help`.
dbt runs in this one process. Exit status: 0 all green, 1 something failed, 75 another run is
writing into the warehouse (WAIT=600 waits up to 600 seconds for it); docs/operations.md has all.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from loader import LoadError
from loader.config import find_config
from loader.contract import ContractError
from loader.errors import BusyError
from loader.history import History, recorded
from loader.lock import BUSY
from loader.urls import with_password
from pages.start import are_pages_of, note_check, note_failure
from pipeline.alerts import Alerts, alerts_of
from pipeline.build_changes import Work, build_changes, publish
from pipeline.changes import Changes, WantedError, changes_since, inputs
from pipeline.dbt_packages import PackageError, install_packages
from pipeline.dbt_runner import DbtError
from pipeline.expectations import STALE, Expectations, Finding, by_table
from pipeline.incidents import FAILED, TEST, Observed
from pipeline.output import FORMATS, output_of
from pipeline.project import MADE, PROJECT, is_set, raw_schema
from pipeline.record import accepted_of, last_good_load, last_load
from pipeline.runs import into_a_copy
from pipeline.settings import BuildError, Settings, given_settings
from pipeline.shop import SAMPLE_URL, OtherShopError, load_shop, make_sample, refuse_other_shop
from pipeline.steps import Steps
from pipeline.summary import (
    accepted_lines,
    closing_lines,
    failure_paragraphs,
    nothing_lines,
    show,
    unmet_lines,
)
from pipeline.target import chosen_warehouse
from pipeline.telling import expected, say_told, seen_by_the_way, seen_early, tell
from pipeline.warehouse import ProfileError, Warehouse
from pipeline.working_copy import CopyError, WorkingCopy
from sample_shop.shop import ShopError

COMMAND = "make build"
# What a person can mend. Each is printed as one sentence.
MISTAKES = (
    *(BuildError, CopyError, DbtError, LoadError, OtherShopError, PackageError, ProfileError),
    *(ShopError, WantedError),
)


def prepare(steps: Steps) -> Warehouse:
    """Give dbt its packages and a profile; returns the warehouse that the profile means.

    Raises PackageError, ProfileError, LoadError.
    """
    with steps.step("packages") as notes:
        notes.append(install_packages(PROJECT))
    return chosen_warehouse()


def build(
    steps: Steps,
    settings: Settings,
    copy: WorkingCopy,
    history: History,
    observed: Observed,
    *,
    loaded: bool,
) -> bool:
    """Load the shop, and build what has changed; True when all is green. Raises one of MISTAKES.

    `loaded`: without a load, for a user who may only build. `observed` gets what is wrong.
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
    if not loaded:
        warehouse = copy.make(steps)
        history.run.of_load(load_shop(steps, warehouse, url, settings.config.options))
    changes = changes_since(warehouse, now, settings.wanted)
    has_pages = changes.since is not None and are_pages_of(
        warehouse.made, changes.since.finished_at
    )
    # Read now: dbt holds a DuckDB file until the end.
    load = last_load(warehouse, raw_schema())
    unmet = expected(warehouse, settings.expectations, settings.day, observed)
    if changes.is_nothing and has_pages:
        publish(steps, copy, green=True)
        say_nothing_has_changed(
            copy.warehouse, changes, load, unmet, settings.expectations, sample=sample
        )
        observed.judged |= {FAILED, TEST, STALE}
        green = True
    else:
        if loaded:
            warehouse = copy.make(steps)  # only now: a large file takes seconds
        facts = {"load": load, "accepted": accepted_of(settings.config.options.accept)}
        watched = (history, settings.expectations, unmet, observed)
        work = Work(
            steps, copy, warehouse, settings, now, changes, has_pages, began, facts, *watched
        )
        green = build_changes(work, sample=sample)
    return green


def say_nothing_has_changed(
    warehouse: Warehouse,
    changes: Changes,
    load: dict[str, Any] | None,
    unmet: Sequence[Finding],
    wanted: Expectations,
    *,
    sample: bool,
) -> None:
    """Say that there is nothing to build, and again what the last build warned of."""
    assert changes.since
    paragraphs = [nothing_lines(changes), *failure_paragraphs(changes.since.warned)]
    try:
        accepted = note_check(warehouse.made, load, by_table(unmet), wanted.of)
    except OSError as error:
        accepted = []
        paragraphs.append([f"WARNING: the start page is not written: {error}"])
    show(
        [
            *paragraphs,
            unmet_lines(unmet),
            accepted_lines(accepted),
            closing_lines(warehouse, sample=sample, green=True),
        ]
    )


def standing(warehouse: Warehouse | None) -> str:
    """Of which load the warehouse is after a build that ended early; empty where nobody knows."""
    loaded = last_good_load(warehouse, raw_schema()) if warehouse else ""
    return (
        f" The warehouse {warehouse.label} holds the load of {loaded}."
        if warehouse and loaded
        else ""
    )


def readable_alerts() -> Alerts:
    """Whom to tell that the settings are wrong, as far as they can be read."""
    with contextlib.suppress(LoadError):
        return alerts_of(find_config().alerts)
    return Alerts()


def tell_early(
    error: Exception, warehouse: Warehouse | None, settings: Settings | None, observed: Observed
) -> None:
    """Tell what ended a build before it had locked the warehouse; `told` does it later."""
    if not observed.seen:
        observed.seen.append(seen_early(error))
        alerts = settings.alerts if settings else readable_alerts()
        say_told(tell(warehouse, alerts, observed, in_table=False))


@contextlib.contextmanager
def told(warehouse: Warehouse, settings: Settings, observed: Observed) -> Iterator[None]:
    """Tell whom loader.yml names what a build came to, while no other one writes."""
    try:
        yield
    except BrokenPipeError:
        raise
    except Exception as error:
        observed.seen.append(seen_early(error))
        observed.judged.clear()
        say_told(tell(warehouse, settings.alerts, observed))
        raise
    seen_by_the_way(warehouse, datetime.now(UTC).date(), observed)
    say_told(tell(warehouse, settings.alerts, observed))


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
    parser.add_argument(
        "--log-format",
        default=os.environ.get("LOG_FORMAT") or "text",
        help="text, or json: a line of JSON for each step, warning and failure [LOG_FORMAT]",
    )
    parser.add_argument(
        "--quiet", action="store_true", default=is_set("QUIET"), help="one line when green [QUIET]"
    )
    options = parser.parse_args(arguments)
    if options.log_format not in FORMATS:
        parser.error(f"the log format is {' or '.join(FORMATS)}, not {options.log_format}")
    os.chdir(PROJECT)
    started = started or time.monotonic()
    output = output_of(options.log_format, quiet=options.quiet)
    with output.speaking():
        status = run(options, Steps(started, output))
    output.end(status, time.monotonic() - started)
    return status


def run(options: argparse.Namespace, steps: Steps) -> int:
    """Run the build as it was asked for; returns the exit status."""
    warehouse: Warehouse | None = None
    copy: WorkingCopy | None = None
    settings: Settings | None = None
    observed = Observed(unknown={"load"} if options.loaded else set())
    try:
        with steps.step("start", since=steps.started):
            pass
        if options.prepare:
            prepare(steps)
            return 0
        settings = given_settings()
        warehouse = prepare(steps)
        destination = warehouse.destination(raw_schema())
        history = History(destination, say, settings.config.keep_runs)
        copy = WorkingCopy(warehouse, history)
        into = functools.partial(into_a_copy, warehouse, history)
        with (
            destination.alone(COMMAND, say),
            recorded(history, COMMAND, into) as record,
            told(warehouse, settings, observed),
            copy,
        ):
            steps.output.run = record
            green = build(steps, settings, copy, history, observed, loaded=options.loaded)
        # The last line, by which schedulers know a build that is red from one that could not begin.
        print(f"\n{'Green' if green else 'FAILED'} after {time.monotonic() - steps.started:.1f} s.")
        return 0 if green else 1
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
            tell_early(error, warehouse, settings, observed)
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except BrokenPipeError:
        # Its reader went away, as `head` does. At its end Python would write what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        print("make build: interrupted, because nobody reads what it prints", file=sys.stderr)
        return 1
    except Exception as error:
        tell_early(error, warehouse, settings, observed)
        raise
