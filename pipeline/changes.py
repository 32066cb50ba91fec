"""What has changed since the last green build, so that a build does that and no more.

A wholly green build leaves a record in the warehouse: of which code, settings, day and load it
was, and what it warned of. It is in the warehouse because several folders and people may build one.
Every run of dbt that writes removes it first (macros/testing/forget_green_build.sql). After one by
hand, one that failed or one that was killed, a build builds everything.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from loader.config import DEFAULT_FILE
from loader.dialects.standard import literal
from pages.start import moment
from pipeline.dbt_runner import Found, Result
from pipeline.project import PROJECT, own_schemas, project_settings, raw_schema, schema_name
from pipeline.warehouse import Ask, Warehouse, WarehouseError

# From this many rows of a shop on, tests of all rows take longer than everything else.
LARGE = 1_000_000
# Folders and files whose content decides what a build makes.
CODE = (
    *("analyses", "macros", "models", "seeds", "snapshots", "tests/generic", "tests/singular"),
    *("dbt_packages", "loader", "pages", "pipeline"),
    *("dbt_project.yml", "packages.yml", "selectors.yml"),
)
# Of these, what a process has read when it began, and does not read again.
PYTHON = ("loader", "pages", "pipeline")
# Variables of dbt that change no row.
HARMLESS = (
    "DBT_PROFILES_DIR",
    "DBT_PACKAGE_HUB_URL",
    "DBT_LOG",
    "DBT_ENV_SECRET",
    "DBT_TARGET_PATH",
)
RECORD = "last_green_build"
# What a record begins with that a watch has left, whose marts are not all of one load.
WATCHED = "watch "
COLUMNS = ("fingerprint", "relations", "as_of_date", "built_on", "batch_id", "loaded_through")
# One row of the record for each warning; one without where there is none.
WARNING = ("finished_at", "warning")


class WantedError(RuntimeError):
    """TESTS or BUILD has no meaning; the text says which values it has."""


@dataclass(frozen=True)
class Wanted:
    """What a person asks for: `tests` is all, new or nothing, `everything` to build all models."""

    tests: str = ""
    everything: bool = False


def wanted() -> Wanted:
    """What TESTS and BUILD say. Raises WantedError."""
    tests, build = os.environ.get("TESTS", ""), os.environ.get("BUILD", "")
    if tests not in ("", "all", "new"):
        raise WantedError(f"TESTS is all or new, not {tests}.")
    if build not in ("", "all"):
        raise WantedError(f"BUILD is all, or empty for what has changed, not {build}.")
    return Wanted(tests, build == "all" or tests == "all")


@dataclass(frozen=True)
class Inputs:
    """What a build depends on beside the shop. `fingerprint` stands for code and settings."""

    fingerprint: str
    as_of_date: str
    built_on: str


def inputs(warehouse: Warehouse, given_day: str) -> Inputs:
    """What a build depends on now."""
    day, today = days(given_day)
    digest = hashlib.sha256(_digests(CODE).encode())
    variables = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("DBT_") and not name.startswith(HARMLESS)
    }
    team = Path(os.environ.get("LOAD_CONFIG", DEFAULT_FILE))
    more = (
        warehouse.kind, warehouse.schema, warehouse.behaviour, _versions(warehouse),
        sorted(variables.items()), team.read_text("utf-8") if team.is_file() else "",
    )  # fmt: skip
    digest.update(repr(more).encode())
    return Inputs(digest.hexdigest(), day, today)


def python_code() -> str:
    """Stands for the code that a process has read when it began."""
    return _digests(PYTHON)


def _digests(names: Iterable[str]) -> str:
    return "".join(
        f"{path.relative_to(PROJECT)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n"
        for path in _files(PROJECT / name for name in names)
    )


def days(given_day: str) -> tuple[str, str]:
    """The day that marts take for today, and the day that it is (UTC)."""
    today = str(datetime.now(UTC).date())
    return given_day or str(project_settings()["vars"].get("as_of_date") or today), today


def _files(places: Iterable[Path]) -> Iterable[Path]:
    for place in places:
        found = sorted(place.rglob("*")) if place.is_dir() else [place]
        yield from (p for p in found if p.is_file() and "__pycache__" not in p.parts)


def _versions(warehouse: Warehouse) -> list[str]:
    found = [f"{sys.version_info[:2]}"]
    adapter = f"dbt-{warehouse.kind}"
    for package in ("dbt-core", "dbt-common", adapter, "Jinja2", "duckdb", "psycopg"):
        try:
            found.append(version(package))
        except PackageNotFoundError:
            found.append("")
    return found


@dataclass(frozen=True)
class Load:
    """The last load that succeeded: its tables, and the values that it could not store exactly."""

    batch_id: str
    started_at: str
    finished_at: datetime
    rows: int
    confirmed: frozenset[str]


@dataclass(frozen=True)
class GreenBuild:
    """The last build that was green as a whole. `loaded_through`: when its load began."""

    fingerprint: str
    relations: str
    as_of_date: str
    built_on: str
    batch_id: str
    loaded_through: str
    finished_at: str
    warned: Sequence[Result] = ()

    @property
    def ended(self) -> str:
        """When it ended, for people."""
        return moment(datetime.fromisoformat(self.finished_at))


@dataclass(frozen=True)
class Changes:
    """What a build has to look at.

    `since` is None where everything has to be built, and `why` says why. `tables` of the raw schema
    have other rows. On a `new_day` what depends on the day has to be built. `tests` depend on the
    date. `other_issues`: the load could not store other values than the one before.
    `tested_through`: of large tables, rows loaded after that are tested; empty for all. Tests that
    `warned` before look at all rows, to warn again of what is still there; on another date also
    those that rows were accepted for.
    """

    since: GreenBuild | None = None
    why: str = ""
    load: Load | None = None
    tables: frozenset[str] = frozenset()
    new_day: bool = False
    tests: frozenset[str] = frozenset()
    other_issues: bool = False
    tested_through: str = ""
    warned: frozenset[str] = frozenset()
    same_code: bool = False

    @property
    def is_nothing(self) -> bool:
        """Whether a build would make again what is there."""
        found = self.tables or self.new_day or self.tests or self.other_issues
        return self.since is not None and not found


def changes_since(warehouse: Warehouse, now: Inputs, asked: Wanted) -> Changes:
    """What has changed since the last green build of a warehouse that was just loaded."""
    try:
        with warehouse.reading() as ask:
            load = last_load(ask)
    except WarehouseError:
        # Without the right to read the audit, everything is built and no record is left.
        return Changes(why="the loader's audit cannot be read")
    before = last_green_build(warehouse)
    if load is None or before is None:
        return Changes(load=load, why="there is no record of a green build")
    if before.fingerprint.startswith(WATCHED):
        return Changes(load=load, why="make watch ended before all marts were built and tested")
    if before.fingerprint != now.fingerprint:
        return Changes(load=load, why="code or settings have changed")
    is_new = (asked.tests or ("new" if load.rows >= LARGE else "all")) == "new"
    whole = Changes(
        load=load,
        same_code=True,
        tested_through=before.loaded_through if is_new else "",
        warned=frozenset(result.name for result in before.warned),
    )
    why = "BUILD or TESTS asks for it" if asked.everything else ""
    with warehouse.reading() as ask:
        if not why and relations(ask, warehouse) != before.relations:
            why = "tables or rights in the warehouse have changed"
        tables, has_other_columns = changed_tables(ask, before.batch_id)
        if not why and source_of(ask, before.batch_id) != source_of(ask, load.batch_id):
            why = "the shop has another address"
        if not why and has_other_columns:
            why = "the shop's tables or columns have changed"
        accepted = frozenset[str]()
        if before.built_on != now.built_on:
            accepted = accepted_names(ask, warehouse)
            # An entry that has ended since leaves a row to be found that no load has touched.
            whole = _with(whole, warned=whole.warned | accepted)
        lost = [_issues(ask, batch) for batch in (before.batch_id, load.batch_id)]
    if why:
        return _with(whole, why=why)
    return _with(
        whole,
        since=before,
        tables=tables,
        new_day=before.as_of_date != now.as_of_date,
        tests=accepted,
        other_issues=lost[0] != lost[1],
    )


def accepted_names(ask: Ask, warehouse: Warehouse) -> frozenset[str]:
    """The tests that rows were accepted for."""
    seeds = schema_name(warehouse.schema, "seeds")
    return frozenset(str(row[0]) for row in ask(f"select test_name from {seeds}.accepted_rows"))


def _with(changes: Changes, **values: Any) -> Changes:
    return Changes(**{**vars(changes), **values})


def last_load(ask: Ask) -> Load | None:
    """The last load that succeeded."""
    schema = raw_schema()
    newest = f"(select max(batch_id) from {schema}._load_runs where status = 'succeeded')"
    runs = ask(
        f"select batch_id, cast(started_at as varchar(26)), finished_at from {schema}._load_runs"
        f" where batch_id = {newest}"
    )
    if not runs:
        return None
    tables = ask(
        f"select table_name, rows_live from {schema}._load_tables where batch_id = {newest}"
        " and status = 'succeeded'"
    )
    batch, started, finished = runs[0]
    names = frozenset(str(name) for name, _ in tables)
    return Load(str(batch), str(started), finished, sum(n or 0 for _, n in tables), names)


def source_of(ask: Ask, batch_id: str) -> list[tuple[Any, ...]]:
    """The address of the shop that a load read, which pages show."""
    runs = f"{raw_schema()}._load_runs"
    return ask(f"select source from {runs} where batch_id = {literal(batch_id)}")


def changed_tables(ask: Ask, batch_id: str) -> tuple[frozenset[str], bool]:
    """The tables of which loads after this found other rows; whether one found other columns."""
    schema = raw_schema()
    later = f"batch_id > {literal(batch_id)}"
    rows = ask(
        f"select table_name, sum(rows_inserted + rows_updated + rows_deleted), max(rows_live),"
        f" min(rows_live) from {schema}._load_tables where {later} and status = 'succeeded'"
        " group by table_name"
    )
    known: dict[Any, Any] = dict(
        ask(
            f"select table_name, rows_live from {schema}._load_tables"
            f" where batch_id = {literal(batch_id)}"
        )
    )
    # Loaded anew, a table may have lost rows that nobody counted.
    changed = {
        str(name)
        for name, written, most, fewest in rows
        if written or not most == fewest == known.get(name, fewest)
    }
    other = ask(f"select count(*) from {schema}._load_schema_changes where {later}")
    return frozenset(changed), bool(other[0][0])


def _issues(ask: Ask, batch: str) -> list[tuple[Any, ...]]:
    return ask(
        f"select table_name, column_name, reason, value_count from {raw_schema()}._load_issues"
        f" where batch_id = {literal(batch)} order by 1, 2, 3"
    )


def relations(ask: Ask, warehouse: Warehouse) -> str:
    """A digest of what dbt has built, without the rows: relations, columns, types, rights."""
    schemas = own_schemas(PROJECT, warehouse.schema) - {raw_schema()}
    names = ", ".join(literal(name) for name in sorted(schemas) if "test_failures" not in name)
    found = [ask(query.format(schemas=names, record=literal(RECORD))) for query in warehouse.shape]
    return hashlib.sha256(repr(found).encode()).hexdigest()


# -- the record ------------------------------------------------------------------------------------


def record_of(warehouse: Warehouse) -> str:
    """The table that holds the record."""
    return f"{schema_name(warehouse.schema, 'intermediate')}.{RECORD}"


def signs_of(ask: Ask, warehouse: Warehouse) -> list[str]:
    """What the record begins with, of a green build or of a run of a watch; none without it."""
    schema = schema_name(warehouse.schema, "intermediate")
    # The schema may have been dropped, or the file replaced.
    if not ask(
        "select 1 from information_schema.tables"
        f" where table_schema = {literal(schema)} and table_name = {literal(RECORD)}"
    ):
        return []
    sign = "fingerprint || coalesce(' ' || finished_at, '')"
    return [str(found) for (found,) in ask(f"select {sign} from {record_of(warehouse)} limit 1")]


def last_green_build(warehouse: Warehouse) -> GreenBuild | None:
    """The record of the last green build; None without one, or where it cannot be read."""
    columns = (*COLUMNS, *WARNING)
    rows = warehouse.ask(f"select {', '.join(columns)} from {record_of(warehouse)}")
    if not rows:
        return None
    texts = sorted(str(row[-1]) for row in rows if row[-1] is not None)
    known = {name: str(value) for name, value in zip(columns[:-1], rows[0], strict=False)}
    return GreenBuild(**known, warned=[_restored(text) for text in texts])


def note_green_build(
    warehouse: Warehouse, now: Inputs, load: Load | None, results: Sequence[Result]
) -> str:
    """Record a green build, and return when it ended. Raises WarehouseError.

    Without the right to read the audit nothing is recorded.
    """
    ended = datetime.now(UTC).isoformat(timespec="microseconds")
    if load is None:
        return ended
    with warehouse.reading() as ask:
        shape = relations(ask, warehouse)
    known = (*vars(now).values(), load.batch_id, load.started_at, ended)
    fingerprint, *others = known
    warned: Sequence[str] = [_stored(r) for r in results if r.kind == "test" and r.status == "warn"]
    rows = [(fingerprint, shape, *others, text) for text in (warned or (None,))]
    values = ", ".join(
        f"({', '.join('null' if v is None else literal(v) for v in row)})" for row in rows
    )
    name, long = record_of(warehouse), "varchar(65535)"
    columns = [f"{column} varchar(100)" for column in (*COLUMNS, WARNING[0])]
    statements = (
        # The record of builds before this one existed.
        f"drop table if exists {name.replace(RECORD, 'tested_marts')}",
        f"create table if not exists {name} ({', '.join(columns)}, {WARNING[1]} {long})",
        f"delete from {name}",
        f"insert into {name} values {values}",
    )
    warehouse.execute(statements)
    return ended


def _stored(result: Result) -> str:
    kept = asdict(result) | {"sql": "", "loaded_at": None}
    return json.dumps(kept, default=str)


def _restored(text: str) -> Result:
    values = json.loads(text)
    if found := values["found"]:
        amount = found["amount"]
        values["found"] = Found(
            found["count"], Decimal(amount) if amount is not None else None, found["rows"]
        )
    return Result(**values)
