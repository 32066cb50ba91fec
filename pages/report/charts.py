"""Charts as inline SVG: no script, no font, nothing to fetch.

Horizontal places are in percent of the width, so a chart fills its space while its text has a fixed
size. Values become floats only for drawing; the written values are exact. Each chart has a name and
a description for those who cannot see it, and its table on the page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from pages.report.text import Number, compact

# In pixels.
ROW = 46  # a bar with its label
TOP, PLOT, AXIS = 8, 190, 24  # above a plot, down to its end, below it
LABEL = 38  # characters of a bar's name and number together, which fit on a phone
TICKS = 4
AXIS_LABELS = 34  # characters of the labels below a plot, two of them between labels
Down = Callable[[float | Number], float]  # a value to its pixels from the top


@dataclass(frozen=True)
class Bar:
    """A value with its name and its text; `mark` is the value to compare it with."""

    name: str
    value: Number
    text: str
    mark: Number | None = None
    is_warning: bool = False


@dataclass(frozen=True)
class Column:
    """A value in time, None without data yet; `hint` appears under the pointer."""

    label: str
    value: Number | None
    hint: str
    mark: Number | None = None


@dataclass(frozen=True)
class Line:
    """Values in time, None without data yet."""

    name: str
    values: Sequence[Number | None]


def bars(key: str, title: str, description: str, rows: Sequence[Bar]) -> Markup:
    """Bars from left to right, one below the other, in the order given."""
    low, high = _bounds([value for row in rows for value in (row.value, row.mark)])

    def across(value: Number) -> float:
        return 100 * (float(value) - low) / (high - low)

    drawn = []
    for number, row in enumerate(rows):
        top = number * ROW
        start, end = sorted((across(0), across(row.value)))
        most = LABEL - len(row.text)
        name = row.name if len(row.name) <= most else f"{row.name[: most - 1]}…"
        parts = [
            _tag("title", f"{row.name}: {row.text}"),
            _tag("text", name, y=top + 14),
            _tag("text", row.text, x="100%", y=top + 14, text_anchor="end"),
            _tag("rect", class_="track", width="100%", y=top + 22, height=12, rx=2),
            _tag(
                "rect",
                class_="bar warning" if row.is_warning else "bar",
                x=_percent(start),
                width=_percent(max(end - start, 0.4 if row.value else 0)),
                y=top + 22,
                height=12,
                rx=2,
            ),
        ]
        if row.mark is not None:
            place = _percent(min(across(row.mark), 99.3))
            parts.append(_tag("rect", class_="mark", x=place, width=3, y=top + 18, height=20))
        drawn.append(_tag("g", *parts))
    return _chart(key, title, description, len(rows) * ROW, drawn)


def columns(key: str, title: str, description: str, points: Sequence[Column]) -> Markup:
    """Columns in time, from left to right; those without data yet are the last."""
    down, grid, numbers = _scale([value for p in points for value in (p.value, p.mark)])
    step = 100 / len(points)
    drawn = [grid]
    drawn += [_column(point, n * step, step, down) for n, point in enumerate(points)]
    unknown = sum(point.value is None for point in points) * step
    if unknown:
        place = {"x": _percent(100 - unknown), "width": _percent(unknown), "height": PLOT - TOP}
        drawn.append(_tag("rect", class_="unknown", y=TOP, **place))
        drawn.append(_tag("text", "no data yet", x="99%", y=TOP + 16, text_anchor="end"))
    drawn.append(_axis([point.label for point in points]))
    chart = _chart(key, title, description, PLOT + AXIS, drawn)
    return _tag("div", numbers, chart, class_="plot")


def _column(point: Column, left: float, width: float, down: Down) -> Markup:
    if point.value is None:
        return Markup()
    top, bottom = sorted((down(0), down(point.value)))
    slot = {"x": _percent(left), "width": _percent(width)}
    parts = [
        _tag("title", point.hint),
        # As high as the plot, so that the pointer also finds a small column.
        _tag("rect", class_="slot", **slot, height=PLOT),
        _tag(
            "rect",
            class_="bar",
            x=_percent(left + width * 0.14),
            width=_percent(width * 0.72),
            y=f"{top:.1f}",
            height=f"{max(bottom - top, 1.5 if point.value else 0):.1f}",
            rx=1,
        ),
    ]
    if point.mark is not None:
        mark = f"{down(point.mark) - 1.5:.1f}"
        parts.append(_tag("rect", class_="mark", **slot, y=mark, height=3))
    return _tag("g", *parts)


def lines(
    key: str, title: str, description: str, labels: Sequence[str], series: Sequence[Line]
) -> Markup:
    """Lines over the same days with different strokes, the first in front."""
    down, grid, numbers = _scale([value for line in series for value in line.values])
    drawn = [grid]
    for number, line in reversed(list(enumerate(series))):
        points = " ".join(
            f"{place + 0.5},{down(value):.1f}"
            for place, value in enumerate(line.values)
            if value is not None
        )
        box = f"0 0 {len(labels)} {PLOT}"
        stroke = _tag(
            "polyline", _tag("title", line.name), class_=f"line line-{number}", points=points
        )
        drawn.append(_tag("svg", stroke, height=PLOT, viewBox=box, preserveAspectRatio="none"))
    drawn.append(_axis(labels))
    chart = _chart(key, title, description, PLOT + AXIS, drawn)
    return _tag("div", numbers, chart, class_="plot")


def _chart(key: str, title: str, description: str, height: int, drawn: Sequence[Markup]) -> Markup:
    return _tag(
        "svg",
        _tag("title", title, id=f"{key}-name"),
        _tag("desc", description, id=f"{key}-text"),
        *drawn,
        class_="chart",
        role="img",
        aria_labelledby=f"{key}-name",
        aria_describedby=f"{key}-text",
        width="100%",
        height=height,
    )


def _scale(values: Sequence[Number | None]) -> tuple[Down, Markup, Markup]:
    """The place of a value in pixels from the top, the lines of the grid, and its numbers."""
    ticks = _ticks(*_bounds(values))

    def down(value: float | Number) -> float:
        return TOP + (PLOT - TOP) * (ticks[-1] - float(value)) / (ticks[-1] - ticks[0])

    grid, numbers = [], []
    for tick in ticks:
        place = f"{down(tick):.1f}"
        name = "zero" if tick == 0 else "grid"
        grid.append(_tag("line", class_=name, x2="100%", y1=place, y2=place))
        numbers.append(_tag("text", compact(tick), class_="tick", y=f"{down(tick) + 4:.1f}"))
    beside = _tag("svg", *numbers, class_="scale", aria_hidden="true", height=PLOT + AXIS)
    return down, Markup().join(grid), beside


def _axis(labels: Sequence[str]) -> Markup:
    """Some of the labels below a plot: the last one, and others at even steps before it."""
    step = 100 / len(labels)
    every = math.ceil(len(labels) / (AXIS_LABELS // (max(map(len, labels)) + 2)))
    found = []
    for number in range(len(labels) - 1, -1, -every):
        middle = (number + 0.5) * step
        anchor = "end" if middle > 90 else "start" if middle < 10 else "middle"
        place = {"end": 100.0, "start": 0.0}.get(anchor, middle)
        found.append(
            _tag(
                "text",
                labels[number],
                class_="tick",
                x=_percent(place),
                y=PLOT + 18,
                text_anchor=anchor,
            )
        )
    return Markup().join(found)


def _bounds(values: Sequence[Number | None]) -> tuple[float, float]:
    """The least and the greatest of the values and zero; they are never equal."""
    known = [float(value) for value in values if value is not None]
    low, high = min([0.0, *known]), max([0.0, *known])
    return (low, high) if low < high else (0.0, 1.0)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from below the least value to above the greatest, at least 1 apart."""
    rough = max((high - low) / TICKS, 1)
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * n for n in (1, 2, 2.5, 5, 10) if size * n >= rough)
    return [n * step for n in range(math.floor(low / step), math.ceil(high / step) + 1)]


def _percent(share: float) -> str:
    return f"{share:.2f}%"


def _tag(name: str, /, *inside: str, **attributes: object) -> Markup:
    """An element; text that is not markup is escaped."""
    written = Markup().join(
        Markup(' {}="{}"').format(_attribute(key), value) for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(
        name, written, Markup().join(escape(part) for part in inside)
    )


def _attribute(key: str) -> str:
    return key.rstrip("_").replace("_", "-")
