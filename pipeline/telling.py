"""What a run found: from its results to incidents, to those who are told, and to the page."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

from loader.dialects.standard import literal, quote
from loader.errors import LoadError, UsageError
from pages.incidents import write_incident_page
from pages.start import read_note, write_start_page
from pipeline.alerts import Alerts
from pipeline.changes import WantedError
from pipeline.dbt_packages import PackageError
from pipeline.dbt_runner import DbtError, Node, Result
from pipeline.expectations import ODD, STALE, Expectations, Finding, unmet
from pipeline.incidents import ACCEPTED, FAILED, SCHEMA, TEST, Incidents, Observed, Seen
from pipeline.project import MADE, raw_schema, schema_name, shown
from pipeline.settings import BuildError
from pipeline.shop import OtherShopError
from pipeline.summary import failure_paragraphs
from pipeline.warehouse import Ask, ProfileError, Warehouse, WarehouseError
from pipeline.working_copy import CopyError
from sample_shop.shop import ShopError

# What a run that ended early is called, which the runbook has a paragraph for.
EARLY: tuple[tuple[type[Exception], str], ...] = (
    (CopyError, "working copy"),
    (DbtError, "dbt"),
    (PackageError, "packages"),
    (OtherShopError, "shop"),
    (ShopError, "shop"),
    (UsageError, "settings"),
    (LoadError, "load"),
    (BuildError, "settings"),
    (ProfileError, "settings"),
    (WantedError, "settings"),
)
RECENT = timedelta(days=7)  # changes of the shop's tables that are news


# -- what a build has seen -------------------------------------------------------------------------


def seen_in(
    results: Sequence[Result], below: Callable[[Result], Sequence[str]], observed: Observed
) -> None:
    """Note what a complete run of dbt came to. Tests that only warn are no incident."""
    observed.judged |= {FAILED, TEST, STALE}
    for result in results:
        kind, subject = TEST, result.name
        if result.kind == "source":
            kind = STALE
        elif result.kind not in ("test", "unit_test"):
            kind, subject = FAILED, f"{result.kind} {result.name}"
        if result.status == "skipped":
            observed.unknown.add(subject)
        elif not result.is_good and (result.status != "warn" or kind == STALE):
            ((_, *lines), *_) = failure_paragraphs([result])
            message = "\n".join(line.strip() for line in lines)
            observed.seen.append(Seen(kind, subject, message, below(result)))


def marts_below(nodes: Sequence[Node], marts: Mapping[str, str]) -> Callable[..., list[str]]:
    """A function from results to the names of the marts below; `marts` are their names by id."""
    children: dict[str, list[str]] = {}
    for node in nodes:
        for parent in node.parents if node.kind not in ("test", "unit_test") else ():
            children.setdefault(parent, []).append(node.id)

    def below(result: Result) -> list[str]:
        todo = [n for n in nodes if n.name == result.name and n.kind == result.kind]
        ids = [id_ for n in todo for id_ in (n.parents if n.kind == "test" else (n.id,))]
        found: set[str] = set()
        while ids:
            if (id_ := ids.pop()) not in found:
                found.add(id_)
                ids += children.get(id_, [])
        return sorted(marts[id_] for id_ in found if id_ in marts)

    return below


def seen_early(error: Exception) -> Seen:
    """A run that ended early."""
    subject = next((name for kind, name in EARLY if isinstance(error, kind)), "")
    said = str(error) if subject else f"{type(error).__name__}: {error}"
    return Seen(FAILED, subject or "crash", said)


# -- what the warehouse says -----------------------------------------------------------------------


def expected(
    warehouse: Warehouse, expectations: Expectations, day: str, observed: Observed
) -> list[Finding]:
    """Note what is not as expected of the raw tables; returns it."""
    try:
        found = unmet(warehouse, expectations, datetime.now(UTC), day)
    except WarehouseError:
        return []  # no load has ever succeeded, or the warehouse is away: something else is red
    below = read_note(warehouse.made).get("below", {})
    observed.seen += [Seen(f.kind, f.subject, f.message, below.get(f.subject, ())) for f in found]
    observed.judged |= {ODD}
    return found


def seen_by_the_way(warehouse: Warehouse, day: date, observed: Observed) -> None:
    """Note what the shop's tables have become, and which accepted rows count again tomorrow."""
    try:
        with warehouse.reading() as ask:
            observed.seen += schema_changes(ask)
            observed.seen += ending_acceptances(ask, warehouse, day)
            observed.judged |= {ACCEPTED}
    except WarehouseError:
        return  # nothing was built yet


def schema_changes(ask: Ask) -> list[Seen]:
    """Recent changes; the first sight of all tables is none, and of a new table only one."""
    changes = f"{quote(raw_schema())}._load_schema_changes"
    since = literal((datetime.now(UTC) - RECENT).replace(tzinfo=None))
    rows = ask(
        "select found.table_name, found.column_name, found.change, found.changed_at,"
        f" found.declared_before, found.declared_after from {changes} as found inner join ("
        f" select table_name, min(batch_id) as batch_id from {changes} group by table_name"
        ") as first on found.table_name = first.table_name"
        f" where found.changed_at > {since}"
        f" and found.batch_id > (select min(batch_id) from {changes})"
        " and (found.column_name is null or found.batch_id > first.batch_id) order by 4, 1, 2"
    )
    found = []
    for table, column, change, at, before, after in rows:
        name = f"{table}.{column}" if column else str(table)
        types = f" ({before or 'nothing'} before, {after or 'nothing'} now)" if column else ""
        subject = f"{name}: {change}, {at:%Y-%m-%d %H:%M}"
        found.append(Seen(SCHEMA, subject, f"In the shop, {name} is {change}{types}."))
    return found


def ending_acceptances(ask: Ask, warehouse: Warehouse, day: date) -> list[Seen]:
    """Bad rows that tests leave out today for the last time."""
    rows = ask(
        "select test_name, row_key, reason, accepted_by from"
        f" {schema_name(warehouse.schema, 'seeds')}.accepted_rows"
        f" where cast(accepted_until as date) = cast({literal(str(day))} as date)"
    )
    return [
        Seen(
            ACCEPTED,
            f"{test} {key}",
            f"{test} leaves out {key} until today: {reason} ({by}). Tomorrow the test counts it.",
        )
        for test, key, reason, by in rows
    ]


# -- who is told -----------------------------------------------------------------------------------


def tell(
    warehouse: Warehouse | None, alerts: Alerts, observed: Observed, *, in_table: bool = True
) -> list[str]:
    """Open and close incidents, tell the channels, write table, file and page; never an error.

    The table is only for a team that is told: without channels a red build changes no warehouse.
    Returns what a person at the terminal should know.
    """
    made = warehouse.made if warehouse else MADE
    in_table = in_table and bool(alerts.channels)
    incidents = Incidents(made, warehouse)
    lines = []
    try:
        incidents.read(with_table=in_table)
        incidents.observe(observed)
        for label, why in incidents.tell(alerts).items():
            lines.append(f"alert: {label}: {f'WARNING: not told: {why}' if why else 'told'}")
        incidents.store(in_table=in_table)
        if incidents.not_stored:
            lines.append(f"WARNING: incidents are in {shown(made)} alone: {incidents.not_stored}")
        write_incident_page(made, readers_see(warehouse))
        if read_note(made):
            write_start_page(made)
    except Exception as error:  # to tell somebody never fails a build
        said = " ".join(str(error).split())
        lines.append(f"WARNING: incidents: {type(error).__name__}: {said}")
    if not alerts.channels and any(not i.told_at for i in incidents.open):
        lines.append("nobody is told of this: loader.yml has no alerts (docs/operations.md)")
    return lines


def readers_see(warehouse: Warehouse | None) -> str:
    """What readers of the marts see as long as builds are red."""
    if warehouse is None:
        return "Which warehouse is meant is not known."
    if warehouse.kind == "redshift":
        return "Each mart as it was last built: those that failed are older than the others."
    return "All marts as the last green build left them."


def say_told(lines: Sequence[str]) -> None:
    """Print what came of it, below the summary."""
    for line in lines:
        print(f"  {line}", file=sys.stderr if "WARNING" in line else sys.stdout, flush=True)
