"""The section about sales: the last 30 days, the 30 days before, and the year before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from itertools import accumulate

from pages.report import charts, text
from pages.report.charts import Bar, Column, Line
from pages.report.figures import (
    BEFORE,
    CURRENCY,
    DAYS,
    NOW,
    TOP,
    YEAR,
    Figures,
    Period,
    Sales,
    Sold,
    folded,
    total,
)
from pages.report.parts import AMOUNTS, WRITTEN, Card, Figure, Note, Section, Table
from pages.report.text import Number

MOST = 10  # names in a chart and its table; the last one sums up all others
SINCE = {BEFORE: f"the {DAYS} days before", YEAR: "the same days a year earlier"}


def sales_section(figures: Figures) -> Section:
    """All figures about sales."""
    now, before, year = (days_of(figures.state.periods[name]) for name in (NOW, BEFORE, YEAR))
    return Section(
        "sales",
        f"Sales: last {DAYS} days",
        f"{now}, compared with {SINCE[BEFORE]} ({before}) and {SINCE[YEAR]} ({year}).",
        [_card(measure) for measure in measures(figures)],
        [
            _totals(figures),
            _day_by_day(figures),
            _running_total(figures),
            _by_name("lines", "product line", figures.by_line, "other lines", orders=True),
            _by_name("countries", "country", figures.by_country, "other countries"),
            _by_name("regions", "region", figures.by_region, "other regions"),
            _arrivals(figures),
            _products(figures),
        ],
    )


@dataclass(frozen=True)
class Measure:
    """A total in each period; `kind` is the kind of a table's column."""

    name: str
    kind: str
    values: dict[str, Number | None]
    remark: str = ""

    def difference(self, since: str) -> Number | None:
        """The change since an earlier period; None where one of the two has no value."""
        now, before = self.values[NOW], self.values[since]
        return None if now is None or before is None else now - before

    def change(self, since: str) -> Decimal | None:
        """The difference in percent of the earlier value."""
        difference, before = self.difference(since), self.values[since]
        return None if difference is None else text.percent_of(difference, before or 0)


def measures(figures: Figures) -> list[Measure]:
    """The totals of each period."""
    found = {name: sum(days, Sold()) for name, days in figures.by_day.items()}
    rate = text.percent_of(found[NOW].margin, found[NOW].revenue)
    remark = "" if rate is None else f"{text.percent(rate)} of revenue"
    return [
        Measure("Revenue", "money", {name: sold.revenue for name, sold in found.items()}),
        Measure("Gross margin", "money", {n: sold.margin for n, sold in found.items()}, remark),
        Measure("Orders", "count", {name: sold.orders for name, sold in found.items()}),
        Measure("Pieces sold", "count", {name: sold.units for name, sold in found.items()}),
        Measure("Average order", "money", {n: average_order(sold) for n, sold in found.items()}),
    ]


def average_order(sold: Sold) -> Decimal | None:
    """Revenue per order, rounded to the cent, halves away from zero."""
    if not sold.orders:
        return None
    return (sold.revenue / sold.orders).quantize(Decimal("0.01"), ROUND_HALF_UP)


def days_of(period: Period) -> str:
    """A period for people: 23 Oct to 21 Nov 2026."""
    is_one_year = period.first.year == period.last.year
    first = (text.short_day if is_one_year else text.day)(period.first)
    return f"{first} to {text.day(period.last)}"


def _card(measure: Measure) -> Card:
    notes = [Note(measure.remark)] if measure.remark else []
    for since, words in SINCE.items():
        change = measure.change(since)
        if change is None:
            why = "not comparable with" if measure.values[since] else "none in"
            notes.append(Note(f"{why} {words}"))
        else:
            direction = "up" if change > 0 else "down" if change < 0 else ""
            notes.append(Note(f"on {words}", text.signed_percent(change), direction))
    unit = CURRENCY if measure.kind in AMOUNTS else ""
    value = WRITTEN[measure.kind](measure.values[NOW])
    return Card(measure.name, value, unit, notes)


def _totals(figures: Figures) -> Figure:
    """The values of the cards as a table, with the differences."""
    rows = []
    for measure in measures(figures):
        write, sign = WRITTEN[measure.kind], WRITTEN[f"{measure.kind} change"]
        unit = f", {CURRENCY}" if measure.kind in AMOUNTS else ""
        row: list[object] = [f"{measure.name}{unit}", write(measure.values[NOW])]
        for since in SINCE:
            row += [write(measure.values[since]), sign(measure.difference(since))]
            row.append(measure.change(since))
        rows.append(row)
    table = Table(
        "Totals and their changes",
        [
            ("Measure", "name"),
            (f"These {DAYS} days", "text"),
            (f"{DAYS} days before", "text"),
            ("Difference", "text"),
            ("Change", "percent change"),
            ("A year earlier", "text"),
            ("Difference on the year", "text"),
            ("Change on the year", "percent change"),
        ],
        rows,
    )
    return Figure("totals", "Totals and their changes", "", tables=[table], is_wide=True)


def _day_by_day(figures: Figures) -> Figure:
    days = figures.state.periods[NOW].days
    known = figures.state.days_known(days)
    now, before, year = (figures.by_day[name] for name in (NOW, BEFORE, YEAR))
    best, day = max(zip(now, days, strict=True), key=lambda found: found[0].revenue)
    quiet = sum(not sold.revenue for sold in now[:known])
    lede = "Nothing was sold."
    if best.revenue:
        lede = f"The best day was {text.day(day)}, with {text.money(best.revenue)}."
        lede += f" {text.counted(quiet, 'day', 'days')} had no sales." if quiet else ""
    points = [
        Column(
            text.short_day(day),
            sold.revenue if number < known else None,
            f"{text.day(day)}: {text.money(sold.revenue)} {CURRENCY}",
        )
        for number, (day, sold) in enumerate(zip(days, now, strict=True))
    ]
    whole = [sum(found, Sold()) for found in (now, before, year)]
    table = Table(
        "Sales day by day",
        [
            ("Day", "day"),
            ("Orders", "count"),
            ("Pieces", "count"),
            ("Revenue", "money"),
            ("Gross margin", "money"),
            (f"Revenue {DAYS} days before", "money"),
            ("Revenue a year earlier", "money"),
        ],
        [
            (
                day,
                *((n.orders, n.units, n.revenue, n.margin) if number < known else [None] * 4),
                b.revenue,
                y.revenue,
            )
            for number, (day, n, b, y) in enumerate(zip(days, now, before, year, strict=True))
        ],
        [
            "Total",
            *(whole[0].orders, whole[0].units, whole[0].revenue, whole[0].margin),
            *(sold.revenue for sold in whole[1:]),
        ],
    )
    title = f"Revenue day by day, {CURRENCY}"
    return Figure("days", title, lede, charts.columns("days", title, lede, points), [table])


def _running_total(figures: Figures) -> Figure:
    days = figures.state.periods[NOW].days
    known = figures.state.days_known(days)
    sums: dict[str, list[Number | None]] = {
        name: list(accumulate(sold.revenue for sold in found))
        for name, found in figures.by_day.items()
    }
    sums[NOW][known:] = [None] * (len(days) - known)
    names = {NOW: f"These {DAYS} days", BEFORE: f"{DAYS} days before", YEAR: "A year earlier"}
    reached = next((value for value in reversed(sums[NOW]) if value is not None), Decimal())
    then = {name: sums[name][known - 1] if known else Decimal() for name in SINCE}
    lede = (
        f"{text.money(reached)} after {text.counted(known, 'day', 'days')}; after as many of"
        f" {SINCE[BEFORE]} it was {text.money(then[BEFORE])}, and of {SINCE[YEAR]}"
        f" {text.money(then[YEAR])}."
    )
    table = Table(
        "Revenue added up from the first day",
        [("Day", "day"), *((name, "money") for name in names.values())],
        list(zip(days, *(sums[name] for name in names), strict=True)),
    )
    title = f"Revenue added up, {CURRENCY}"
    series = [Line(words, sums[name]) for name, words in names.items()]
    chart = charts.lines("sums", title, lede, [text.short_day(day) for day in days], series)
    legend = [(f"line-{number}", words) for number, words in enumerate(names.values())]
    return Figure("sums", title, lede, chart, [table], legend)


def _by_name(
    key: str, what: str, sales: Sequence[Sales], others: str, *, orders: bool = False
) -> Figure:
    """Revenue by product line, country or region; with `orders` where these add up."""
    whole = total(sales, "Total")
    shown = [Sales(text.name(s.name), s.periods) for s in folded(sales, MOST, others)]
    title = f"Revenue by {what}, {CURRENCY}"
    if not shown:
        return Figure(key, title, "Nothing was sold in any of the periods.")
    share = text.percent_of(sales[0][NOW].revenue, whole[NOW].revenue)
    lede = f"{text.name(sales[0].name)} has the most, {text.percent(share)} of it."
    if not share:
        lede = f"Nothing was sold in these {DAYS} days."
    chart = charts.bars(
        key,
        title,
        lede,
        [Bar(s.name, s[NOW].revenue, text.money(s[NOW].revenue), s[BEFORE].revenue) for s in shown],
    )

    def row(s: Sales, *, is_total: bool = False) -> list[object]:
        now, before, year = s[NOW], s[BEFORE], s[YEAR]
        counts = [None if is_total else now.orders] if orders else []
        return [
            s.name,
            *counts,
            now.units,
            now.revenue,
            text.percent_of(now.revenue, whole[NOW].revenue),
            before.revenue,
            text.percent_of(now.revenue - before.revenue, before.revenue),
            year.revenue,
            text.percent_of(now.revenue - year.revenue, year.revenue),
            now.margin,
            text.percent_of(now.margin, now.revenue),
        ]

    table = Table(
        f"Sales by {what}",
        [
            (what.capitalize(), "name"),
            *([("Orders", "count")] if orders else []),
            ("Pieces", "count"),
            ("Revenue", "money"),
            ("Share", "percent"),
            (f"Revenue {DAYS} days before", "money"),
            ("Change", "percent change"),
            ("Revenue a year earlier", "money"),
            ("Change on the year", "percent change"),
            ("Gross margin", "money"),
            ("Margin rate", "percent"),
        ],
        [row(s) for s in shown],
        row(whole, is_total=True),
    )
    legend = [("bar", f"these {DAYS} days"), ("mark", f"the {DAYS} days before")]
    return Figure(key, title, lede, chart, [table], legend)


def _arrivals(figures: Figures) -> Figure:
    title = "Orders by hour of arrival, UTC"
    later = {hour: sums for hour, is_first, *sums in figures.arrivals if not is_first}
    first = [row for row in figures.arrivals if row[1]]
    orders = sum(row[2] for row in first)
    remark = ""
    if first:
        remark = f" The first load, {text.moment(first[0][5])}, saw"
        remark += f" {text.counted(orders, 'order', 'orders')} of all years; they are left out."
    if not later:
        empty = "No load after the first has seen a new order yet, so no hour is known."
        return Figure("hours", title, empty + remark)
    counts = {hour: sums[0] for hour, sums in later.items()}
    known = {hour: count for hour, count in counts.items() if hour is not None}
    lede = "An order arrives in the hour of the load that saw it first."
    if known:
        hour = max(known, key=lambda hour: (known[hour], -hour))
        lede = f"Most orders, {text.whole(known[hour])}, came at {text.hour(hour)}. {lede}"
    lede += remark
    points = [
        Column(
            f"{hour:02}",
            counts.get(hour, 0),
            f"{text.hour(hour)}: {text.counted(counts.get(hour, 0), 'order', 'orders')}",
        )
        for hour in range(24)
    ]
    table = Table(
        "Orders by the hour in which a load first saw them, after the first load",
        [("Hour", "hour"), ("Orders", "count"), ("Pieces", "count"), ("Revenue", "money")],
        [(hour, *sums[:3]) for hour, sums in later.items()],
        ["Total", *(sum(sums[n] for sums in later.values()) for n in range(3))],
    )
    return Figure("hours", title, lede, charts.columns("hours", title, lede, points), [table])


def _products(figures: Figures) -> Figure:
    title = f"The {TOP} products with the most revenue"
    if not figures.products:
        return Figure("products", title, "Nothing was sold.", is_wide=True)
    table = Table(
        title,
        [
            ("Product", "name"),
            ("Product line", "name"),
            ("Pieces", "count"),
            ("Revenue", "money"),
            (f"Revenue {DAYS} days before", "money"),
            ("Change", "percent change"),
            ("Gross margin", "money"),
            ("Margin rate", "percent"),
            ("In stock now", "count"),
            ("Stock lasts, days", "count"),
        ],
        [
            (
                *(name, line, units, revenue, before),
                text.percent_of(revenue - before, before),
                margin,
                text.percent_of(margin, revenue),
                *(stock, cover),
            )
            for name, line, units, revenue, before, margin, stock, cover in figures.products
        ],
    )
    lede = (
        "The stock lasts that many days if sales continue as in the 90 days to"
        f" {text.day(figures.state.as_of)}."
    )
    return Figure("products", title, lede, tables=[table], is_wide=True)
