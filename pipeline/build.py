"""What `make build` runs: load the shop, build and test every model, write catalog and report.

    python scripts/build.py            everything
    python scripts/build.py --prepare  only what dbt needs to start: its packages and a profile

SOURCE, TARGET, DUCKDB_PATH and the libpq variables say from where and to where, AS_OF_DATE which
day the marts take for today; see `make help`.
Everything dbt does happens in this one process. Exit status: 0 all green, 1 something failed.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner, dbtRunnerResult

from loader import DuckDBDestination, LoadError, Options, PostgresDestination, load
from loader.config import find_config
from loader.destinations import Destination
from loader.destinations.redshift.settings import redshift_destination
from loader.progress import Lines, Silent
from loader.schema import Table
from loader.sources import MODULES
from loader.urls import SourceUrl, parse_url, with_password
from pages.start import load_of, note_build, note_failure, outcomes_of, owners_of
from pipeline.dbt_packages import PackageError, install_packages
from pipeline.report import write_report
from pipeline.summary import (
    Figure,
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
from pipeline.warehouse import (
    ProfileError,
    Target,
    ensure_profile,
    project_settings,
    resolve_target,
)
from sample_shop.shop import ShopError, create_shop

PROJECT = Path(__file__).resolve().parents[1]
TARGET = PROJECT / "target"
SITE = TARGET / "site"  # what people open
BUILT = TARGET / "built"  # what dbt told of the last build
SAMPLE = PROJECT / "shop.sqlite"
SAMPLE_URL = f"sqlite:///{SAMPLE.name}"
# Of the sources that are servers, by their module.
PORTS = {"mysql": 3306, "postgres": 5432}
# Rows of a shop from which on tests of all rows take longer than everything else.
LARGE = 1_000_000
# The variable that names another warehouse, by the kind of the target.
PLACES = {
    "duckdb": "DUCKDB_PATH",
    "postgres": "PGDATABASE",
    "redshift": "REDSHIFT_DATABASE",
}


class BuildError(RuntimeError):
    """The build cannot go on; the text says why and what to do."""


class Steps:
    """Prints one line per step: its name, the seconds it took and what came of it."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.terminal = sys.stdout.isatty()

    @contextlib.contextmanager
    def step(self, name: str, since: float | None = None) -> Iterator[list[str]]:
        """Time a step; what the caller puts into the list is printed at its end."""
        began = since or time.monotonic()
        notes: list[str] = []
        self.progress(name)
        try:
            yield notes
        finally:
            self._erase()
        seconds = time.monotonic() - began
        first, *others = notes or [""]
        print(f"  {name:<12}{seconds:5.1f} s  {first}".rstrip())
        for line in others:
            print(f"{'':<21}{line}")
        sys.stdout.flush()

    def progress(self, text: str) -> None:
        """Show what happens now, where somebody watches."""
        if self.terminal:
            sys.stdout.write(f"\r\033[K  {text[:76]}")
            sys.stdout.flush()

    def _erase(self) -> None:
        if self.terminal:
            sys.stdout.write("\r\033[K")


class LoadProgress(Silent):
    """Passes the loader's progress on to the line of its step."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._name = ""
        self._rows = 0

    def table(self, table: Table) -> None:
        """Start counting anew."""
        self._name, self._rows = table.raw_name, 0

    def advance(self, rows: int, size: int) -> None:
        """Show the rows so far."""
        self._rows += rows
        self._steps.progress(f"load  {self._name}: {self._rows:,} rows")


class Dbt:
    """dbt in this process: parsed once, silent, its progress passed on."""

    def __init__(self, steps: Steps, target: Target) -> None:
        self._steps = steps
        self._reached = 0
        self._options = [*target.options, *variables(), "--log-level", "none"]
        self._options += ["--log-level-file", "debug"]  # "none" would silence logs/dbt.log too
        self._runner = dbtRunner(callbacks=[self._on_event])
        self.manifest: Any = self.run("parse").result
        self._runner.manifest = self.manifest

    def run(self, *arguments: str) -> dbtRunnerResult:
        """Run one dbt command. Raises BuildError when dbt could not even start on it."""
        self._reached = 0
        result = self._runner.invoke([*arguments, *self._options])
        if isinstance(result.exception, KeyboardInterrupt):
            raise result.exception
        if result.exception is not None:
            said = "\n  ".join(str(result.exception).strip().splitlines())
            raise BuildError(f"dbt {arguments[0]} stopped. {said}")
        return result

    def public_models(self) -> list[str]:
        """The marts, by name: what the project lets others read."""
        nodes = self.manifest.nodes.values()
        return sorted(n.name for n in nodes if n.resource_type == "model" and n.access == "public")

    def schema(self, folder: str) -> str:
        """The schema that the models of a folder are built in."""
        nodes = self.manifest.nodes.values()
        return next(str(n.schema) for n in nodes if n.resource_type == "model" and folder in n.fqn)

    def code(self) -> str:
        """What tells this project, with its packages and settings, from any other: a hash."""
        parts = sorted((name, file.checksum.checksum) for name, file in self.manifest.files.items())
        return hashlib.sha256(f"{parts}{self.manifest.state_check}".encode()).hexdigest()

    def _on_event(self, event: Any) -> None:
        data = event.data
        total = getattr(data, "total", 0) or getattr(data, "num_models", 0)
        if total and data.index:
            # Threads report out of turn; a count that goes back would look broken.
            self._reached = max(self._reached, data.index)
            self._steps.progress(f"dbt  {self._reached}/{total}  {data.node_info.node_name}")


def prepare(steps: Steps, kind: str | None = None) -> Target:
    """Give dbt its packages and a profile, whose output is that of TARGET, `kind` or the default.

    Raises PackageError, ProfileError.
    """
    with steps.step("packages") as notes:
        notes.append(install_packages(PROJECT))
    return resolve_target(PROJECT, ensure_profile(PROJECT), os.environ.get("TARGET") or kind)


def make_sample(steps: Steps) -> None:
    """Make the sample shop unless it is there. Raises ShopError."""
    if SAMPLE.exists():
        return
    with steps.step("sample shop") as notes:
        fresh = SAMPLE.with_name(f"{SAMPLE.name}.{os.getpid()}.tmp")
        try:
            rows = create_shop(f"sqlite:///{quote(str(fresh))}")
            fresh.rename(SAMPLE)
        finally:
            fresh.unlink(missing_ok=True)
        notes.append(f"{SAMPLE.name}: {sum(rows.values()):,} rows in {len(rows)} tables")


def variables() -> list[str]:
    """dbt's option for the day that AS_OF_DATE gives; none without. Raises BuildError."""
    given = os.environ.get("AS_OF_DATE", "")
    if not given:
        return []
    try:
        return ["--vars", json.dumps({"as_of_date": str(date.fromisoformat(given))})]
    except ValueError:
        raise BuildError(f"AS_OF_DATE is a day such as 2026-11-20, not {given}.") from None


def wanted_tests() -> str:
    """What TESTS says: all, new, or nothing. Raises BuildError."""
    wanted = os.environ.get("TESTS", "")
    if wanted not in ("", "all", "new"):
        raise BuildError(f"TESTS is all or new, not {wanted}.")
    return wanted


def raw_schema() -> str:
    """The schema that the dbt project reads raw tables from."""
    return str(project_settings(PROJECT)["vars"]["raw_schema"])


def refuse_other_shop(target: Target, url: str, *, sample: bool) -> None:
    """Raise BuildError when the warehouse was last loaded from another shop than this URL's.

    Loading one over the other would mark nearly every row as deleted, and a plain `make build`
    after `make build SOURCE=...` would replace somebody's real shop by the sample.
    """
    now, before = parse_url(url), last_source(target)
    if before is None or os.environ.get("ALLOW_OTHER_SOURCE", "") not in ("", "0"):
        return
    # Of an unknown scheme, the loader says which there are.
    if now.scheme not in MODULES or place_of(parse_url(before)) == place_of(now):
        return
    remedies = [f"take another {PLACES[target.kind]}"]
    if sample:
        remedies.insert(0, "give SOURCE again")
    elif before != SAMPLE_URL:
        remedies.append("set ALLOW_OTHER_SOURCE=1 if the same shop has moved")
    elif target.place == "warehouse.duckdb":
        remedies.append("make clean first")
    raise BuildError(
        f"The warehouse {target.place} holds another shop, {before}, not {now}:"
        f" {', or '.join(remedies)}."
    )


def place_of(source: SourceUrl) -> tuple[str, ...]:
    """What tells one shop from another: kind, server and database, or the path of its files."""
    kind = MODULES.get(source.scheme, source.scheme)
    if kind not in PORTS:
        return kind, str(Path(source.database).resolve())
    host = "localhost" if source.host in ("", "127.0.0.1", "::1") else source.host
    return kind, host, str(source.port or PORTS[kind]), source.database


def last_source(target: Target) -> str | None:
    """Where the warehouse was last loaded from, its password hidden; None when nobody knows."""
    rows = target.ask(
        f"select source from {raw_schema()}._load_runs where status = 'succeeded'"
        " order by started_at desc limit 1"
    )
    # No load yet, or a warehouse that cannot be opened: the loader will say which.
    return str(rows[0][0]) if rows else None


def load_shop(steps: Steps, target: Target, url: str, options: Options) -> None:
    """Load the shop into the warehouse that dbt's target names. Raises LoadError."""
    schema = raw_schema()
    destination: Destination
    if target.kind == "duckdb":
        destination = DuckDBDestination(schema, target.connection["path"])
    elif target.kind == "redshift":
        destination = redshift_destination(schema, target.connection)
    else:
        connection = {name: str(value) for name, value in target.connection.items()}
        destination = PostgresDestination(schema, **connection)
    with steps.step("load") as notes:
        in_a_log = Lines(functools.partial(print, file=sys.stderr))
        progress = LoadProgress(steps) if steps.terminal else in_a_log
        result = load(url, destination, options, progress=progress)
        changes = [entry.changes for entry in result.tables]
        notes.append(
            f"{result.source}: {sum(entry.rows_read for entry in result.tables):,} rows in"
            f" {len(result.tables)} tables ({sum(c.inserted for c in changes):,} new,"
            f" {sum(c.updated for c in changes):,} changed,"
            f" {sum(c.deleted for c in changes):,} gone)"
        )
        if result.issue_count:
            notes.append(
                f"WARNING: {result.issue_count:,} values could not be kept exactly:"
                f" {schema}._load_issues lists them"
            )


def build(steps: Steps) -> bool:
    """Do everything; True when all is green."""
    began = datetime.now(UTC)
    config = find_config()
    if config.raw_schema not in (None, raw_schema()):
        raise BuildError(
            f"The loader's configuration says raw_schema: {config.raw_schema}, but dbt reads"
            f" {raw_schema()}: leave it out, or change raw_schema in dbt_project.yml too."
        )
    # Mistakes in these, before the shop is loaded.
    variables()
    wanted = wanted_tests()
    target = prepare(steps, config.target)
    given = os.environ.get("SOURCE") or config.source
    url = with_password(given) if given else SAMPLE_URL
    refuse_other_shop(target, url, sample=not given)
    if not given:
        make_sample(steps)
    load_shop(steps, target, url, config.options)
    loaded = load_of(target, raw_schema())  # now: dbt holds a DuckDB file until the end
    with steps.step("dbt parse"):
        dbt = Dbt(steps, target)
    with steps.step("dbt build") as notes:
        known, code_is_good = tested_before(dbt, target, wanted)
        os.environ.update(known)
        # What unit tests calculate depends on nothing else.
        unit_tests = ("--exclude-resource-type", "unit_test") if code_is_good else ()
        built = dbt.run("build", *unit_tests)
        results: list[Any] = list(built.result.results)
        left_out = tested_lines(code_is_good, known["TESTED_THROUGH"])
        tested = [line for line in (written_line(results), *left_out) if line]
        notes += [count_line(results), *rebuilt_lines(results), *tested]
    with steps.step("freshness") as notes:
        freshness = dbt.run("source", "freshness")
        # Without what is done at the end of each run.
        sources = [r for r in freshness.result.results if r.node.resource_type == "source"]
        results += sources
        notes.append(freshness_line(sources))
    with steps.step("catalog") as notes:
        # The models are compiled already; compiling them again would also ask the warehouse again.
        catalog = dbt.run("docs", "generate", "--static", "--no-compile")
        notes.append(put_docs() if catalog.success else "incomplete: see logs/dbt.log")
    with steps.step("figures"):
        figures = read_figures(dbt)
    with steps.step("report") as notes:
        notes.append(report(target, is_good=built.success))

    green = bool(built.success and freshness.success and catalog.success)
    project = project_settings(PROJECT)
    facts = {
        "project": f"{project['name']} {project['version']}",
        "data_through": next((f.name for f in figures if f.topic == "data through"), "unknown"),
        "load": loaded,
        "tested": tested,
        **outcomes_of(results),
        **owners_of(dbt.manifest, figures),
    }
    paragraphs = [figure_lines(figures, results)]
    try:
        note_build(TARGET, green=green, began=began, warehouse=target, facts=facts)
    except OSError as error:
        paragraphs.append([f"WARNING: the start page is not written: {error}"])
    paragraphs += [
        *failure_paragraphs(results),
        closing_lines(target, sample=not given, green=green),
    ]
    print("\n" + "\n\n".join("\n".join(lines) for lines in paragraphs if lines))
    print(f"\n{'Green' if green else 'FAILED'} after {time.monotonic() - steps.started:.1f} s.")
    return green


def put_docs() -> str:
    """Put dbt's page where people look; what came of it. No page is worth a build.

    Its artifacts are kept too: the next dbt command, such as `dbt parse`, writes others over them,
    without the SQL from which `make docs` draws the lineage.
    """
    try:
        for folder in (SITE, BUILT):
            folder.mkdir(exist_ok=True)
        (TARGET / "static_index.html").replace(SITE / "docs.html")
        for artifact in ("manifest.json", "catalog.json"):
            shutil.copyfile(TARGET / artifact, BUILT / artifact)
    except OSError as error:
        return f"WARNING: not written: {error}"
    return "target/site/docs.html"


def tested_before(dbt: Dbt, target: Target, wanted: str) -> tuple[dict[str, str], bool]:
    """What earlier builds tell: the variables of macros/testing, and whether the code is good.

    It is good after a wholly green build of this very code. TESTED_THROUGH is the load before
    that build, empty where all rows are to be tested: no such build, or `wanted` is all, which an
    empty one means for a shop with less than LARGE rows.
    """
    schema, code = raw_schema(), dbt.code()
    found = target.ask(
        f"select cast(max(runs.started_at) as varchar(26)), sum(tables.rows_live)"
        f" from {schema}._load_runs as runs"
        f" inner join {schema}._load_tables as tables on runs.batch_id = tables.batch_id"
        f" where runs.batch_id = (select max(batch_id) from {schema}._load_runs"
        " where status = 'succeeded')"
    )
    marks = f"{dbt.schema('intermediate')}.tested_marts where code = '{code}'"
    tested = target.ask(f"select loaded_through from {marks}")
    if not found or found[0][0] is None:
        # Whoever cannot read the audit has everything tested, and leaves no mark.
        return {"TESTED_CODE": "", "LOADED_THROUGH": "", "TESTED_THROUGH": ""}, False
    ((loaded, rows),) = found
    is_new = (wanted or ("new" if rows >= LARGE else "all")) == "new"
    through = str(tested[0][0]) if tested and is_new else ""
    known = {"TESTED_CODE": code, "LOADED_THROUGH": str(loaded), "TESTED_THROUGH": through}
    return known, bool(tested)


def read_figures(dbt: Dbt) -> list[Figure]:
    """Ask the warehouse for the summary's figures; none when a mart is missing."""
    # Without artifacts: run_results.json stays that of the build, which `dbt retry` reads.
    query = figures_query(dbt.public_models())
    try:
        answer = dbt.run("show", "--inline", query, "--limit", "-1", "--no-write-json")
    except BuildError:
        return []
    return figures_of(answer.result.results[0].agate_table) if answer.success else []


def report(target: Target, *, is_good: bool) -> str:
    """Write the report of a good build; say where it is, or why there is none."""
    if not is_good:
        return "not written: the build failed (make report writes it all the same)"
    try:
        # DuckDB does not open a file for reading that dbt, in this process, has open for writing.
        DuckDBConnectionManager.close_all_connections()
        return write_report(target)
    # Whatever is wrong with the page, nothing is with the marts.
    except Exception as error:
        return f"WARNING: not written: {' '.join(str(error).split())}"


def main(arguments: Sequence[str] | None = None, *, started: float | None = None) -> int:
    """Run the build; every error that a person can mend is one sentence.

    `started` is the monotonic time at which the command began, before its imports.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--prepare", action="store_true", help="only packages and profile")
    options = parser.parse_args(arguments)
    os.chdir(PROJECT)
    started = started or time.monotonic()
    steps = Steps(started)
    try:
        with steps.step("start", since=started):
            pass
        if options.prepare:
            prepare(steps)
            return 0
        return 0 if build(steps) else 1
    except (BuildError, LoadError, PackageError, ProfileError, ShopError) as error:
        print(f"make build: {error}", file=sys.stderr)
        if not options.prepare:
            with contextlib.suppress(OSError):  # the sentence above is what counts
                note_failure(TARGET, str(error))
        return 1
    except KeyboardInterrupt:
        print("make build: interrupted", file=sys.stderr)
        return 130
