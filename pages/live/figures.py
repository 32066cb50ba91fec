"""The figures of the live page, each a sentence, a chart and a table, from the figures' JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from pages.report import charts, text
from pages.report.charts import Bar, Column
from pages.report.figures import CURRENCY, DAYS
from pages.report.parts import Figure, Table

Json = Mapping[str, Any]

MOST = 10  # names in a chart and its table; the last one sums up all others
SOLD = (("Orders", "count"), ("Pieces", "count"), ("Revenue", "money"))
HOURS = "Sales of today by hour"
DAILY = f"Sales of the last {DAYS} days by day"
LINES = "Sales of today by product line"
REGIONS = "Sales of today by region"
ORDERS = "The newest orders"
MARK = f"average day of the last {DAYS}"


def figures_of(found: Json | None, now: datetime | None) -> list[Figure]:
    """All figures; without any data yet they say so. `now` is when the marts were built (UTC)."""
    if found is None:
        nothing = "No figures yet: the marts are not built."
        titles = {
            "hours": HOURS,
            "days": DAILY,
            "lines": LINES,
            "regions": REGIONS,
            "orders": ORDERS,
        }
        return [Figure(key, title, nothing) for key, title in titles.items()]
    return [
        _hours(found, now),
        _days(found),
        _by_name("lines", LINES, "Product line", found["lines"], "other lines"),
        _by_name("regions", REGIONS, "Region", found["regions"], "other regions"),
        _orders(found),
    ]


@dataclass(frozen=True)
class Sold:
    """What was sold; amounts as exact numbers again."""

    orders: int | None
    units: int
    revenue: Decimal

    @classmethod
    def of(cls, found: Json) -> Sold:
        """From its JSON."""
        return cls(found["orders"], found["units"], Decimal(found["revenue"]))

    @property
    def values(self) -> tuple[int | None, int, Decimal]:
        """As cells of a table."""
        return self.orders, self.units, self.revenue

    @property
    def is_nothing(self) -> bool:
        """Whether there was no sale."""
        return not (self.orders or self.units or self.revenue)


def _hours(found: Json, now: datetime | None) -> Figure:
    """Each hour of the day (UTC), beside the same hour of yesterday and a week before."""
    hours = {
        name: [Sold.of(sold) for sold in day["in_day"]] for name, day in found["hours"].items()
    }
    rest = {
        name: (Sold.of(day["other_day"]), Sold.of(day["unknown"]))
        for name, day in found["hours"].items()
    }
    # A day of which the log gave no hour has nothing to compare with.
    known = {name: any(not sold.is_nothing for sold in day) for name, day in hours.items()}
    last = max(
        _last_hour(found["day"], now),
        *(hour for hour, sold in enumerate(hours["today"]) if not sold.is_nothing),
        -1,
    )
    rows: list[tuple[Any, ...]] = []
    columns = []
    for hour in range(24):
        today, before, week = (hours[name][hour] for name in ("today", "yesterday", "week_before"))
        comes = hour > last
        yesterday = before.revenue if known["yesterday"] else None
        a_week_before = week.revenue if known["week_before"] else None
        cells = (None, None, None) if comes else today.values
        rows.append((f"{hour:02}:00", *cells, yesterday, a_week_before))
        hint = "to come" if comes else f"{text.money(today.revenue)} {CURRENCY}"
        if yesterday is not None:
            hint += f"; yesterday {text.money(yesterday)}"
        columns.append(Column(f"{hour:02}", today.revenue, f"{hour:02}:00: {hint}", yesterday))
    for place, title in ((0, "On another day (UTC)"), (1, "Hour not known")):
        some = [rest[name][place] for name in ("today", "yesterday", "week_before")]
        if any(not sold.is_nothing for sold in some):
            rows.append((title, *some[0].values, some[1].revenue, some[2].revenue))
    table = Table(
        HOURS,
        [
            ("Hour, UTC", "name"),
            *SOLD,
            ("Revenue yesterday", "money"),
            ("Revenue a week before", "money"),
        ],
        rows,
        (
            "Total",
            *Sold.of(found["today"]).values,
            Decimal(found["yesterday"]["revenue"]),
            Decimal(found["week_before"]["revenue"]),
        ),
    )
    lede = _about_hours(Sold.of(found["today"]), *rest["today"], is_known=known["today"])
    if not (known["today"] or known["yesterday"]):
        return Figure("hours", HOURS, lede, None, [table])
    chart = charts.columns("hours", HOURS, lede, columns)
    legend = [("bar", "revenue today")]
    if known["yesterday"]:
        legend.append(("level", "the same hour yesterday"))
    return Figure("hours", HOURS, lede, chart, [table], legend)


def _last_hour(day: str, now: datetime | None) -> int:
    """The last hour of a day (UTC) that has begun; -1 where none has."""
    if now is None or day < now.date().isoformat():
        return 23
    return now.hour if day == now.date().isoformat() else -1


def _about_hours(today: Sold, other: Sold, unknown: Sold, *, is_known: bool) -> str:
    if today.is_nothing:
        return "Nothing was sold today yet."
    if not is_known and other.is_nothing:
        return "The hour is not known of any order of today: no log gave the time of its commit."
    said = f"{text.money(today.revenue)} {CURRENCY} in all, by the hour of the commit in the shop."
    for sold, words in (
        (unknown, "of orders whose hour no log gave"),
        (other, "was entered on another day (UTC)"),
    ):
        if not sold.is_nothing:
            said += f" Of it {text.money(sold.revenue)} {words}."
    return said


def _days(found: Json) -> Figure:
    days = [(date.fromisoformat(row["day"]), Sold.of(row)) for row in found["days"]]
    total = sum((sold.revenue for _, sold in days), Decimal("0.00"))
    best, most = max(days, key=lambda row: row[1].revenue)
    lede = f"Nothing was sold in {DAYS} days."
    if total:
        lede = (
            f"{text.money(total)} {CURRENCY} in {DAYS} days, up to and with today. The best day was"
            f" {text.day(best)}, with {text.money(most.revenue)}."
        )
    columns = [
        Column(
            text.short_day(day),
            sold.revenue,
            f"{text.day(day)}: {text.money(sold.revenue)} {CURRENCY}",
        )
        for day, sold in days
    ]
    rows = [(day, *sold.values) for day, sold in days]
    orders = sum(sold.orders or 0 for _, sold in days)
    units = sum(sold.units for _, sold in days)
    table = Table(DAILY, [("Day", "day"), *SOLD], rows, ("Total", orders, units, total))
    chart = charts.columns("days", DAILY, lede, columns)
    return Figure("days", DAILY, lede, chart, [table], [("bar", "revenue")])


@dataclass(frozen=True)
class Named:
    """What was sold of a product line or in a region: today, and in 30 days."""

    name: str
    today: Sold
    days: Sold

    @property
    def average(self) -> Decimal:
        """Revenue of an average day, rounded to the cent."""
        return (self.days.revenue / DAYS).quantize(Decimal("0.01"), ROUND_HALF_UP)


def _by_name(key: str, title: str, column: str, rows: Sequence[Json], others: str) -> Figure:
    """Bars for today, with a mark for the average day."""
    every = [
        Named(text.name(row["name"]), Sold.of(row["today"]), Sold.of(row["days"])) for row in rows
    ]
    today = sum((row.today.revenue for row in every), Decimal("0.00"))
    if not every:
        return Figure(key, title, f"Nothing was sold in {DAYS} days.")
    lede = "Nothing was sold today yet."
    if today > 0:
        share = text.percent(text.percent_of(every[0].today.revenue, today))
        lede = f"{every[0].name} has the most: {share} of today's {text.money(today)} {CURRENCY}."
    shown = _folded(every, others)
    bars = [Bar(r.name, r.today.revenue, text.money(r.today.revenue), r.average) for r in shown]
    counts = any(row.today.orders is not None for row in every)
    columns = [
        (column, "name"),
        *(SOLD if counts else SOLD[1:]),
        ("Share", "percent"),
        ("Average day", "money"),
        (f"Revenue in {DAYS} days", "money"),
    ]

    def cells(row: Named) -> tuple[Any, ...]:
        sold = row.today.values if counts else row.today.values[1:]
        share = text.percent_of(row.today.revenue, today)
        return (row.name, *sold, share, row.average, row.days.revenue)

    total = cells(_together(every, "Total"))
    table = Table(title, columns, [cells(row) for row in shown], total)
    legend = [("bar", "revenue today"), ("mark", MARK)]
    return Figure(key, title, lede, charts.bars(key, title, lede, bars), [table], legend)


def _folded(rows: Sequence[Named], others: str) -> list[Named]:
    """The first ones; where there are more than MOST, the last one sums up the others."""
    if len(rows) <= MOST:
        return list(rows)
    rest = rows[MOST - 1 :]
    return [*rows[: MOST - 1], _together(rest, f"{len(rest):,} {others}")]


def _together(rows: Iterable[Named], name: str) -> Named:
    """The sums; an order can have several product lines, so orders do not add up."""
    found = list(rows)

    def added(sold: Iterable[Sold]) -> Sold:
        each = list(sold)
        return Sold(None, sum(s.units for s in each), sum((s.revenue for s in each), Decimal()))

    return Named(name, added(r.today for r in found), added(r.days for r in found))


def _orders(found: Json) -> Figure:
    """The newest orders, with when each was committed, or seen by a load."""
    orders = found["orders"]
    if not orders:
        return Figure("orders", ORDERS, "The shop has no orders yet.")
    rows = [
        (
            order["number"],
            _when(order["seen_at"], is_commit=order["is_commit"]),
            order["country"],
            ", ".join(text.name(line) for line in order["lines"]) or text.NONE,
            order["units"],
            Decimal(order["revenue"]),
            order["status"],
        )
        for order in orders
    ]
    lede = (
        f"The last {text.counted(len(orders), 'order', 'orders')} that came to the warehouse, the"
        " newest first. Times are those of the commit in the shop (UTC); “loaded” is when a load"
        " first saw the order."
    )
    columns = [
        ("Order", "code"),
        ("When", "name"),
        ("Country", "name"),
        ("Product lines", "name"),
        ("Pieces", "count"),
        ("Revenue", "money"),
        ("Status", "name"),
    ]
    return Figure("orders", ORDERS, lede, None, [Table(ORDERS, columns, rows)], is_wide=True)


def _when(moment: str | None, *, is_commit: bool) -> str:
    if moment is None:
        return text.NONE
    time = datetime.fromisoformat(moment)
    shown = f"{text.short_day(time.date())}, {time:%H:%M:%S}"
    return shown if is_commit else f"{shown}, loaded"
