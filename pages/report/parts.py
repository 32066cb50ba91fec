"""The parts of the page: sections with cards and figures, and figures with charts and tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from pages.report import text
from pages.report.figures import CURRENCY

# How the values of a column are written, by the kind of column.
WRITTEN: Mapping[str, Callable[[Any], str]] = {
    "name": text.name,
    "code": text.code,
    "day": text.day,
    "month": text.month,
    "hour": text.hour,
    "text": str,
    "count": text.whole,
    "count change": text.signed_whole,
    "money": text.money,
    "money change": text.signed,
    "percent": text.percent,
    "percent change": text.signed_percent,
}
WORDS = ("name", "code", "day", "month", "hour")  # the others are numbers, aligned right
AMOUNTS = ("money", "money change")


@dataclass(frozen=True)
class Table:
    """Rows of plain values. Each column is a title and a kind of WRITTEN."""

    caption: str
    columns: Sequence[tuple[str, str]]
    rows: Sequence[Sequence[Any]]
    total: Sequence[Any] = ()

    @property
    def head(self) -> list[tuple[str, bool]]:
        """The titles, with the unit of amounts, and whether the column holds numbers."""
        return [
            (f"{title}, {CURRENCY}" if kind in AMOUNTS else title, kind not in WORDS)
            for title, kind in self.columns
        ]

    @property
    def body(self) -> list[list[str]]:
        """The rows as written."""
        kinds = [kind for _, kind in self.columns]
        return [[WRITTEN[k](v) for k, v in zip(kinds, row, strict=True)] for row in self.rows]

    @property
    def foot(self) -> list[str]:
        """The row of totals as written; empty without one, and where values do not add up."""
        kinds = ["text", *(kind for _, kind in self.columns[1:])]
        found = zip(kinds, self.total, strict=True) if self.total else ()
        return ["" if v is None else WRITTEN[k](v) for k, v in found]


@dataclass(frozen=True)
class Figure:
    """A chart, a sentence about it, and its tables; without both, why there is nothing to show."""

    key: str
    title: str
    lede: str
    chart: Markup | None = None
    tables: Sequence[Table] = ()
    legend: Sequence[tuple[str, str]] = ()  # the style of a mark, and what it means
    is_wide: bool = False


@dataclass(frozen=True)
class Note:
    """A remark on a number: how it changed (up, down or neither), and since when."""

    words: str
    change: str = ""
    direction: str = ""


@dataclass(frozen=True)
class Card:
    """One number that is shown alone."""

    label: str
    value: str
    unit: str
    notes: Sequence[Note]


@dataclass(frozen=True)
class Section:
    """The figures for one audience."""

    key: str
    title: str
    intro: str
    cards: Sequence[Card]
    figures: Sequence[Figure]
