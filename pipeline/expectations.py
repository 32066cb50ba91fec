"""What a team expects of the raw tables: how old loads and rows may be, and how many come.

In loader.yml, by the name of the raw table or a pattern such as "*"; what stands later wins:

expect:
  "*": {loaded_within: 26 hours, usual_share: 0.2}
  orders: {newest: orderDate, newest_within: 3 days, usual_share: 0.5}

What is not as expected is a finding. It warns, and never fails a build; docs/loader.md has the
rules.
"""

from __future__ import annotations

import copy
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from fnmatch import fnmatchcase
from typing import Any, Self

from loader.dialects.standard import literal, quote
from loader.errors import UsageError
from pages.start import moment
from pipeline.dbt_runner import Run
from pipeline.project import raw_schema
from pipeline.warehouse import Ask, Warehouse, WarehouseError

STALE, ODD = "stale", "volume odd"
WEEKS = 8  # that are compared with
LEAST_DAYS = 4  # of the same weekday with a load; with fewer nothing is usual
LEAST_ROWS = 10  # a usual number below this says nothing: half of all days may be empty
UNITS = {"minute": 60, "hour": 3600, "day": 86400, "week": 604800}
PERIOD = re.compile(r"(\d+(?:\.\d+)?) ?(minute|hour|day|week)s?")


@dataclass(frozen=True)
class Expectation:
    """What is expected of one raw table."""

    loaded_within: timedelta | None = None
    newest: str = ""
    newest_within: timedelta | None = None
    # The share of the usual number of new rows below which a day is odd; 0: none is.
    usual_share: float = 0.2

    def __str__(self) -> str:
        share = f"{self.usual_share:.0%} of the usual rows" if self.usual_share else ""
        loaded = f"a load within {spoken(self.loaded_within)}" if self.loaded_within else ""
        newest = f"{self.newest} within {spoken(self.newest_within)}" if self.newest_within else ""
        return "; ".join(part for part in (loaded, newest, share) if part)


@dataclass(frozen=True)
class Finding:
    """What is not as expected; `kind` is STALE or ODD, `subject` the table."""

    kind: str
    subject: str
    message: str


@dataclass(frozen=True)
class Day:
    """Of a UTC day: the loads that succeeded, and the rows of a table that were new in them."""

    loads: int
    rows: int


class Expectations:
    """The settings of all tables, in the order in which they are written."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        """Raises UsageError, which names the table and the key."""
        self._given = {str(table): parsed(str(table), found) for table, found in given.items()}

    def of(self, table: str) -> Expectation:
        """Those of one raw table."""
        found: dict[str, Any] = {}
        for pattern, values in self._given.items():
            if fnmatchcase(table, pattern.lower()):
                found |= values
        return replace(Expectation(), **found)

    @property
    def without_loads(self) -> Self:
        """The same, whatever the age of loads."""
        known = copy.copy(self)
        known._given = {
            table: {key: value for key, value in values.items() if key != "loaded_within"}
            for table, values in self._given.items()
        }
        return known

    def without_table(self, tables: Sequence[str]) -> list[str]:
        """The names and patterns that are of no table."""
        return [p for p in self._given if not any(fnmatchcase(t, p.lower()) for t in tables)]


def parsed(table: str, given: Any) -> dict[str, Any]:
    """The settings of one table. Raises UsageError."""
    known = Expectation.__dataclass_fields__
    where = f"loader.yml, expect, {table}"
    if not isinstance(given, dict):
        raise UsageError(f"{where}: must be keys and values, such as {{loaded_within: 26 hours}}.")
    found: dict[str, Any] = {}
    for key, value in given.items():
        if key not in known:
            raise UsageError(f"{where}: unknown key {key}; known: {', '.join(known)}.")
        if key.endswith("_within"):
            found[key] = period(value, f"{where}: {key}")
        elif key == "newest" and isinstance(value, str) and value:
            found[key] = value.lower()
        elif key == "usual_share" and _is_share(value):
            found[key] = float(value)
        else:
            raise UsageError(f"{where}: {key} cannot be {value!r}.")
    if ("newest" in found) != ("newest_within" in found):
        raise UsageError(f"{where}: newest (a column) and newest_within (a period) go together.")
    return found


def _is_share(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


def period(value: Any, where: str) -> timedelta:
    """A time such as 26 hours or 3 days. Raises UsageError."""
    match = PERIOD.fullmatch(str(value).strip())
    if match is None or not float(match[1]):
        raise UsageError(f"{where} is a time such as 90 minutes, 26 hours or 3 days, not {value}.")
    return timedelta(seconds=float(match[1]) * UNITS[match[2]])


def by_table(found: Sequence[Finding]) -> dict[str, str]:
    """By table, all that is not as expected of it."""
    tables: dict[str, str] = {}
    for finding in found:
        before = tables.get(finding.subject)
        tables[finding.subject] = f"{before}; {finding.message}" if before else finding.message
    return tables


def overruled(run: Run, expectations: Expectations, found: Sequence[Finding]) -> Run:
    """dbt's verdict on the sources; where a team has set how old a load may be, that counts."""
    stale = {finding.subject: finding for finding in found if finding.kind == STALE}
    results = []
    for result in run.results:
        if expectations.of(result.name).loaded_within and not result.is_good:
            finding = stale.get(result.name)
            status, message = ("warn", finding.message) if finding else ("pass", "")
            result = replace(result, status=status, message=message)
        results.append(result)
    return Run(all(r.is_good or r.status == "warn" for r in results), results)


def unmet(
    warehouse: Warehouse, expectations: Expectations, now: datetime, day: str = ""
) -> list[Finding]:
    """What is not as expected at `now` (UTC). Raises WarehouseError where the audit is unreadable.

    `day`: what the marts take for today, for business time; empty: the real day.
    """
    now = now.astimezone(UTC).replace(tzinfo=None)
    business = datetime.combine(date.fromisoformat(day), time.max) if day else now
    found = []
    with warehouse.reading() as ask:
        confirmed = confirmed_tables(ask)
        days = days_of(ask, now.date())
    for pattern in expectations.without_table(list(confirmed)):
        found.append(
            Finding(
                STALE,
                pattern,
                f"{pattern}: loader.yml expects something of it, but no such table was ever loaded",
            )
        )
    for table, loaded_at in confirmed.items():
        wanted = expectations.of(table)
        if wanted.loaded_within and now - loaded_at > wanted.loaded_within:
            found.append(
                Finding(
                    STALE,
                    table,
                    f"{table}: no load has confirmed it since {moment(loaded_at)};"
                    f" expected within {spoken(wanted.loaded_within)}",
                )
            )
        elif wanted.newest_within:
            found += _unmet_business(warehouse, table, wanted, business)
        if wanted.usual_share and (said := odd_volume(days.get(table, {}), now.date(), wanted)):
            found.append(Finding(ODD, table, f"{table}: {said}"))
    return found


def confirmed_tables(ask: Ask) -> dict[str, datetime]:
    """By raw table, when a load last confirmed it (UTC); not those that the shop no longer has."""
    raw = quote(raw_schema())
    rows = ask(
        "select tables.table_name, max(runs.finished_at),"
        " max(case when tables.status = 'gone' then tables.batch_id end),"
        f" max(case when tables.status = 'succeeded' then tables.batch_id end)"
        f" from {raw}._load_tables as tables"
        f" inner join {raw}._load_runs as runs on tables.batch_id = runs.batch_id"
        " where runs.status = 'succeeded' group by tables.table_name order by 1"
    )
    return {str(t): at for t, at, gone, good in rows if good and (gone or "") < good}


def _unmet_business(
    warehouse: Warehouse, table: str, wanted: Expectation, now: datetime
) -> list[Finding]:
    """A table whose newest row is too old. A day in the future is a slip of the pen: no news."""
    column, raw = quote(wanted.newest), f"{quote(raw_schema())}.{quote(table)}"
    assert wanted.newest_within
    tomorrow = literal(str(now.date() + timedelta(days=1)))
    try:
        with warehouse.reading() as ask:
            ((newest,),) = ask(
                f"select max({column}) from {raw} where _deleted_at is null"
                f" and {column} < cast({tomorrow} as date)"
            )
    except WarehouseError as error:
        said = f"{table}: the newest {wanted.newest} cannot be read: {error}"
        return [Finding(STALE, table, said)]
    if newest is None:
        return [Finding(STALE, table, f"{table}: no row has a {wanted.newest} until now")]
    if isinstance(newest, datetime):
        at = newest.astimezone(UTC).replace(tzinfo=None) if newest.tzinfo else newest
    else:  # a day lasts until its end
        at = datetime.combine(newest, time.min) + timedelta(days=1)
    if now - at <= wanted.newest_within:
        return []
    said = (
        f"{table}: the newest {wanted.newest} is {newest}; expected one within"
        f" {spoken(wanted.newest_within)}"
    )
    return [Finding(STALE, table, said)]


def spoken(span: timedelta) -> str:
    """A period as people say it."""
    seconds = int(span.total_seconds())
    unit, size = next((u, s) for u, s in reversed(UNITS.items()) if not seconds % s or s == 60)
    return f"{seconds / size:g} {unit}{'s' if seconds != size else ''}"


# -- the usual number of rows ----------------------------------------------------------------------


def days_of(ask: Ask, today: date) -> dict[str, dict[date, Day]]:
    """By raw table and UTC day: loads and new rows, of the last weeks. No day is without a load."""
    raw = quote(raw_schema())
    since = literal(str(today - timedelta(days=7 * WEEKS + 1)))
    where = f"status = 'succeeded' and started_at >= cast({since} as timestamp)"
    loads: dict[date, int] = dict(
        ask(
            f"select cast(started_at as date), count(*) from {raw}._load_runs where {where}"
            " group by cast(started_at as date)"
        )
    )
    rows = ask(
        "select tables.table_name, cast(runs.started_at as date), sum(tables.rows_inserted)"
        f" from {raw}._load_tables as tables"
        f" inner join (select * from {raw}._load_runs where {where}) as runs"
        " on tables.batch_id = runs.batch_id where tables.status = 'succeeded'"
        " group by tables.table_name, cast(runs.started_at as date)"
    )
    found: dict[str, dict[date, Day]] = {}
    for table, day, number in rows:
        # A watch's batch confirms only the tables that changed: the others had no new row.
        of_table = found.setdefault(str(table), {d: Day(int(n), 0) for d, n in loads.items()})
        of_table[day] = Day(int(loads[day]), int(number or 0))
    return found


def odd_volume(days: Mapping[date, Day], today: date, wanted: Expectation) -> str:
    """Why the last day that can be judged is odd; empty where it is not, or nothing is usual.

    A day can be judged when it is over, or when it has had as many loads as usual.
    """
    for day in (today, today - timedelta(days=1)):
        past = [days[d] for w in range(1, WEEKS + 1) if (d := day - timedelta(days=7 * w)) in days]
        if len(past) < LEAST_DAYS or day not in days:
            continue
        if day == today and days[day].loads < statistics.median(d.loads for d in past):
            continue
        usual = statistics.median(d.rows for d in past)
        if usual < LEAST_ROWS or days[day].rows >= usual * wanted.usual_share:
            return ""
        return (
            f"{days[day].rows:,} new rows on {day:%A}, {day}; usual on this weekday are"
            f" {usual:,.0f} (the median of {len(past)} of the last {WEEKS} weeks)"
        )
    return ""
