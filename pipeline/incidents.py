"""What is wrong since when, and who was told: a message when it begins, and one at its end.

The incidents are in the raw schema's table `_incidents`, and in incidents.json beside the pages.
The file also has those that could not be written into the warehouse, because it cannot be reached
or this user may not write there; the next run that can brings them there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from loader.dialects.standard import literal, quote
from loader.errors import LoadError
from pages.files import replace_file
from pipeline.alerts import BACK, Alerts, Message, harmless, send
from pipeline.project import raw_schema
from pipeline.steps import Steps
from pipeline.warehouse import DuckDB, Warehouse, WarehouseError
from pipeline.working_copy import CopyError, WorkingCopy

FAILED, TEST, SCHEMA, ACCEPTED = "failed", "test failed", "schema changed", "acceptance ends"
FILE = "incidents.json"
COLUMNS = ("id", "kind", "subject", "opened_at", "told_at", "closed_at", "message")
KEPT = timedelta(days=90)  # after its end
LINES = 8  # of an incident in a message
TOLD_LATE = timedelta(days=7)  # whose end nobody could be told for so long, that is over
# Whoever is told about a change is not told about its end, which it has not.
WITHOUT_END = (SCHEMA,)


@dataclass(frozen=True)
class Seen:
    """Something that is wrong now; `marts` are those below it."""

    kind: str
    subject: str
    message: str
    marts: Sequence[str] = ()

    @property
    def id(self) -> str:
        """The same as long as it is the same fault."""
        return hashlib.sha256(f"{self.kind}\n{self.subject}".encode()).hexdigest()[:12]


@dataclass
class Observed:
    """What a run has found, and how far it looked."""

    seen: list[Seen] = field(default_factory=list)
    # Of which kinds it would have seen everything; what is of another may still be wrong.
    judged: set[str] = field(default_factory=set)
    # What it did not look at although it is of such a kind.
    unknown: set[str] = field(default_factory=set)

    def is_over(self, incident: Incident) -> bool:
        """Whether something that was wrong is not any more."""
        return incident.kind in self.judged and incident.subject not in self.unknown


@dataclass
class Incident:
    """One row of `_incidents`; times are UTC, ISO 8601, empty where it has not happened."""

    id: str
    kind: str
    subject: str
    opened_at: str
    told_at: str = ""
    closed_at: str = ""
    message: str = ""
    marts: Sequence[str] = ()
    is_stored: bool = False

    @property
    def end_is_untold(self) -> bool:
        """Whether somebody was told that it began, and nobody that it is over."""
        return bool(self.told_at and self.closed_at) and self.told_at < self.closed_at


def now() -> str:
    """The time, in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Incidents:
    """Those of one warehouse; `warehouse` is None where nobody knows which is meant."""

    def __init__(self, folder: Path, warehouse: Warehouse | None) -> None:
        self._file, self._warehouse = folder / FILE, warehouse
        self.found: dict[str, Incident] = {}
        self.channels: dict[str, str] = {}
        # Why the warehouse does not have them; empty where it does.
        self.not_stored = ""

    def read(self, *, with_table: bool = True) -> None:
        """Read the file, and the table, which other machines write too."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            note = json.loads(self._file.read_text("utf-8"))
            found = [Incident(**values) for values in note["incidents"]]
            self.found = {incident.id: incident for incident in found}
            self.channels = dict(note["channels"])
        if not (with_table and self._warehouse):
            return
        columns = ", ".join(f"coalesce({name}, '')" for name in COLUMNS)
        rows = self._warehouse.ask(f"select {columns} from {quote(raw_schema())}._incidents")
        for row in rows:
            known = self.found.get(row[0])
            if known is None or known.is_stored:
                marts = known.marts if known else ()
                values = dict(zip(COLUMNS, row, strict=True))
                self.found[row[0]] = Incident(**values, marts=marts, is_stored=True)

    @property
    def open(self) -> list[Incident]:
        """What is wrong, the newest last."""
        found = [i for i in self.found.values() if not i.closed_at]
        return sorted(found, key=lambda i: (i.opened_at, i.id))

    def observe(self, observed: Observed) -> None:
        """Open and close incidents by what a run has seen."""
        at, seen = now(), {one.id: one for one in observed.seen}
        for id_, one in seen.items():
            known = self.found.get(id_)
            if known is None or (known.closed_at and known.kind not in WITHOUT_END):
                self.found[id_] = Incident(id_, one.kind, one.subject, at)
            known = self.found[id_]
            fresh = replace(known, message=one.message, marts=list(one.marts))
            # Only other rows of the same fault: not worth a copy of a DuckDB file.
            self.found[id_] = replace(fresh, is_stored=known.is_stored and not known.closed_at)
            if one.kind in WITHOUT_END and not known.closed_at:
                self._change(id_, closed_at=at)
        for incident in self.open:
            if incident.id not in seen and observed.is_over(incident):
                self._change(incident.id, closed_at=at)
        old = (datetime.now(UTC) - KEPT).isoformat()
        for incident in list(self.found.values()):
            if incident.closed_at and incident.closed_at < old:
                del self.found[incident.id]

    def _change(self, id_: str, **values: Any) -> None:
        self.found[id_] = replace(self.found[id_], is_stored=False, **values)

    def tell(self, alerts: Alerts) -> dict[str, str]:
        """Tell the channels what has begun and what is over; by channel, why it was not told."""
        late = (datetime.now(UTC) - TOLD_LATE).isoformat()
        # What is over before anybody could be told is no news.
        begun = [
            i
            for i in self.found.values()
            if not i.told_at and (not i.closed_at or i.kind in WITHOUT_END)
        ]
        over = [
            i
            for i in self.found.values()
            if i.end_is_untold and i.closed_at > late and i.kind not in WITHOUT_END
        ]
        messages, asked = [], {}
        for channel in alerts.channels:
            told = [i for i in begun if i.kind in channel.events]
            ended = [i for i in over if BACK in channel.events and i.kind in channel.events]
            if told or ended:
                messages.append((channel, self._message(alerts, told, ended)))
                asked[channel.label] = [*told, *ended]
        outcomes = send(messages) if messages else {}
        at = now()
        for label, why in outcomes.items():
            for incident in asked[label] if not why else []:
                self._change(incident.id, told_at=at)
        self.channels |= outcomes
        labels = {channel.label for channel in alerts.channels}
        self.channels = {label: why for label, why in self.channels.items() if label in labels}
        return outcomes

    def _message(self, alerts: Alerts, begun: list[Incident], over: list[Incident]) -> Message:
        first = (begun or over)[0]
        title = f"{first.kind}: {first.subject}" if begun else f"{BACK}: {first.subject}"
        more = len(begun) + len(over) - 1
        lines = []
        for incident in begun:
            lines += [f"{incident.kind.upper()}  {incident.subject}"]
            lines += [f"    {harmless(line)}" for line in incident.message.splitlines()[:LINES]]
            lines += [f"    marts below: {', '.join(incident.marts)}"] if incident.marts else []
            what = f": {incident.subject.split()[0]}" if incident.kind == FAILED else ""
            lines += [f"    what to do: docs/runbook.md, {incident.kind}{what}", ""]
        for incident in over:
            since = f"since {incident.opened_at[:16].replace('T', ' ')} UTC"
            lines.append(f"OVER  {incident.kind}: {incident.subject} ({since})")
        if open_ := len(self.open):
            lines.append(f"Open now: {open_}. The page incidents.html has all of them.")
        else:
            lines.append("Nothing is wrong now.")
        facts = {
            "event": first.kind if begun else BACK,
            "warehouse": self._warehouse.label if self._warehouse else "unknown",
            "incidents": [_for_programs(incident) for incident in (*begun, *over)],
        }
        title = f"{alerts.name}: {title}{f' and {more} more' if more else ''}"
        return Message(title, lines, facts)

    def store(self, *, in_table: bool = True) -> None:
        """Write the file, and into the table what it does not have. Raises OSError for the file."""
        changed = [i for i in self.found.values() if not i.is_stored]
        if changed and in_table and self._warehouse:
            try:
                write_table(self._warehouse, changed)
                for incident in changed:
                    incident.is_stored = True
            except (CopyError, LoadError, WarehouseError, OSError) as error:
                self.not_stored = " ".join(str(error).split())
        note = {
            "at": now(),
            "not_stored": self.not_stored,
            "channels": self.channels,
            "incidents": [asdict(incident) for incident in self.found.values()],
        }
        replace_file(self._file, json.dumps(note, indent=1))


def _for_programs(incident: Incident) -> Mapping[str, Any]:
    values = asdict(incident)
    del values["is_stored"]
    return values


# -- the table -------------------------------------------------------------------------------------


def write_table(warehouse: Warehouse, incidents: Sequence[Incident]) -> None:
    """Write incidents into `_incidents`. Raises WarehouseError, CopyError, LoadError.

    A DuckDB file is replaced by a copy, so that readers who have it open are not in the way.
    """
    if not isinstance(warehouse, DuckDB):
        warehouse.execute(statements(incidents))
        return
    if not Path(warehouse.place).is_file():
        raise WarehouseError(f"there is no warehouse {warehouse.place}")
    copy = WorkingCopy(warehouse)
    with copy:
        made = copy.make(Silent(), stays=True)
        try:
            made.execute(statements(incidents))
            copy.publish()
        finally:
            copy.discard()


def statements(incidents: Iterable[Incident]) -> list[str]:
    """Those that bring incidents into the table, which they make."""
    table = f"{quote(raw_schema())}._incidents"
    columns = ", ".join(f"{name} varchar(65535)" for name in COLUMNS)
    found = [f"create table if not exists {table} ({columns})"]
    for incident in incidents:
        values = asdict(incident)
        listed = ", ".join(literal(values[name] or None) for name in COLUMNS)
        found.append(f"delete from {table} where id = {literal(incident.id)}")
        found.append(f"insert into {table} ({', '.join(COLUMNS)}) values ({listed})")
    return found


class Silent(Steps):
    """Steps of which nothing is printed."""

    def __init__(self) -> None:
        self.started, self.terminal = 0.0, False

    @contextlib.contextmanager
    def step(self, name: str, since: float | None = None) -> Any:
        """Do it without a word."""
        yield []
