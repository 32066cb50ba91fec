"""The parts of the live page that change: HTML by the id of the element that it fills.

The browser gets those that differ from what it has. So every number is written here, exactly, and
the page needs no more script than it takes to put them in their places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from pages.files import templates
from pages.live.figures import figures_of
from pages.report import text
from pages.report.figures import CURRENCY
from pages.report.parts import Card, Figure, Note

Json = Mapping[str, Any]

REPORT = Path(__file__).parents[1] / "report"
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
BEHIND = "Behind the shop"
LAG = 10  # seconds behind the shop from which on the page says so


@dataclass(frozen=True)
class Moment:
    """A time in UTC, with which the browser counts how long ago it was."""

    time: datetime

    @classmethod
    def of(cls, found: str | None) -> Moment | None:
        """From ISO text; a time without a zone is UTC. None where there is none."""
        if not found:
            return None
        time = datetime.fromisoformat(found)
        return cls(time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC))

    @property
    def since(self) -> int:
        """Milliseconds since 1970, as browsers count."""
        return int(self.time.timestamp() * 1000)

    @property
    def shown(self) -> str:
        """As people read it, to the second."""
        return f"{text.day(self.time.date())}, {self.time:%H:%M:%S} UTC"


@cache
def macros() -> Any:
    """The macros of parts.html.jinja, each of which writes a part."""
    return templates(Path(__file__).parent, REPORT).get_template("parts.html.jinja").module


def figures_shown(state: Json) -> list[Figure]:
    """The figures with their charts and tables."""
    built = Moment.of(state.get("built_at"))
    return figures_of(state.get("figures"), built.time if built else None)


def parts_of(state: Json) -> dict[str, str]:
    """All parts of a state, without those of `watch_parts`."""
    write = macros()
    tested, built = Moment.of(state.get("tested_at")), Moment.of(state.get("built_at"))
    has_newer = bool(tested and built and built.time > tested.time)
    parts = {
        "notices": write.notices(notices(state)),
        "cards": write.cards(cards(state.get("figures"))),
        "tests": write.tests(state.get("failed") or [], tested, has_newer=has_newer),
        "origin": write.origin(origin(state)),
    }
    for figure in figures_shown(state):
        parts[f"{figure.key}-lede"] = write.lede(figure)
        parts[f"{figure.key}-chart"] = write.chart(figure)
        parts[f"{figure.key}-table"] = write.tables(figure)
    return {key: str(html).strip() for key, html in parts.items()}


def watch_parts(state: Json, status: Json | None) -> dict[str, str]:
    """The part that also shows the watch's own status, which moves without a new state."""
    found = facts(state, status)
    return {"facts": str(macros().facts(found, is_late=is_late(status))).strip()}


def lag(status: Json | None) -> str:
    """How far the warehouse is behind the shop, in words; empty where it is not known."""
    if status is None or status.get("lag_seconds") is None:
        return ""
    behind = f"{status['lag_seconds']:,.1f} s"
    waiting = status.get("bytes_behind")
    return behind if waiting is None else f"{behind}, {waiting:,} bytes of the log"


def is_late(status: Json | None) -> bool:
    """Whether a reader must know of the lag."""
    return bool(status and (status.get("lag_seconds") or 0) >= LAG)


def facts(state: Json, status: Json | None) -> list[tuple[str, str, Moment | None]]:
    """Names with values; a moment is written with how long ago it was."""
    found: list[tuple[str, str, Moment | None]] = []
    figures = state.get("figures")
    if figures:
        found.append(("Today", _named(date.fromisoformat(figures["day"])), None))
    through = Moment.of(state.get("through"))
    found += [
        ("Newest commit shown", text.NONE, through),
        ("Figures calculated", text.NONE, Moment.of(state.get("built_at"))),
    ]
    if behind := lag(status):
        found.append((BEHIND, behind, None))
    slow = state.get("slow") or {}
    if slow:
        every = _every(slow.get("every"))
        found.append(("All other marts", every, Moment.of(slow.get("built_at"))))
    return found


def origin(state: Json) -> list[tuple[str, str]]:
    """Where the figures come from, and how changes are heard of."""
    heard = {"log": "by the shop's log", "poll": "by comparing tables with the shop's"}
    named = {
        "Shop": state.get("source"),
        "Warehouse": state.get("warehouse"),
        "Changes are heard of": heard.get(str(state.get("mode")), state.get("mode")),
    }
    return [(name, str(value)) for name, value in named.items() if value]


def notices(state: Json) -> list[tuple[str, Moment | None, str]]:
    """What a reader must know before the first number: words, since when, and more words."""
    found: list[tuple[str, Moment | None, str]] = []
    if state.get("error"):
        built = Moment.of(state.get("built_at"))
        found.append(("Not updated since", built, str(state["error"])))
    if failed := state.get("failed"):
        words = text.counted(len(failed), "test fails", "tests fail")
        found.append((f"{words}; the list is below the figures. Figures may be wrong.", None, ""))
    if state.get("note"):
        found.append((f"The marts {state['note']}.", None, ""))
    if not state.get("figures") and not state.get("error"):
        found.append(("The first figures come when the marts are built.", None, ""))
    return found


def cards(figures: Json | None) -> list[Card]:
    """Revenue, orders and pieces of today, with whole days to compare with."""
    shown = []
    for key, label, unit in (
        ("revenue", "Revenue today", CURRENCY),
        ("orders", "Orders today", ""),
        ("units", "Pieces sold today", ""),
    ):
        if figures is None:
            shown.append(Card(label, text.NONE, unit, []))
            continue
        write = text.money if key == "revenue" else text.whole
        notes = []
        for name in ("yesterday", "week_before"):
            before = figures[name]
            day = date.fromisoformat(before["day"])
            words = "yesterday"
            if name != "yesterday":
                words = f"{WEEKDAYS[day.weekday()]} {text.short_day(day)}"
            words = f"{words}, the whole day: {write(_number(before[key]))}"
            share = figures["shares"][name][key]
            if share is None:
                notes.append(Note(words[:1].upper() + words[1:]))
            else:
                notes.append(Note(f"of {words}", text.percent(_number(share))))
        shown.append(Card(label, write(_number(figures["today"][key])), unit, notes))
    return shown


def announcement(state: Json) -> str:
    """What a screen reader says of new figures; the browser says it now and then."""
    figures = state.get("figures")
    if not figures:
        return ""
    today = figures["today"]
    said = (
        f"Revenue today {text.money(_number(today['revenue']))} {CURRENCY},"
        f" {text.counted(today['orders'], 'order', 'orders')}."
    )
    if failed := state.get("failed"):
        said += f" {text.counted(len(failed), 'test fails', 'tests fail')}."
    return said


def _every(given: Any) -> str:
    """How often, given in seconds or in words."""
    if isinstance(given, int | float):
        given = f"{given / 60:g} min" if given >= 60 else f"{given:g} s"
    return f"every {given}" if given else text.NONE


def _named(day: date) -> str:
    return f"{WEEKDAYS[day.weekday()]}, {text.day(day)}"


def _number(value: Any) -> Any:
    """A count, or an amount that came as text."""
    return Decimal(value) if isinstance(value, str) else value
