"""The section about customers: segments, receivables, payments, and what does not match."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from pages.report import charts, text
from pages.report.charts import Bar, Column
from pages.report.figures import CURRENCY, MONTHS, TOP, Figures
from pages.report.parts import Card, Figure, Note, Section, Table

# As in the mart's description, the best first.
SEGMENTS = (
    "Champions",
    "Loyal",
    "Promising",
    "New",
    "Needs attention",
    "At risk",
    "Hibernating",
    "Never ordered",
)
AGES = (
    "Not due",
    "1 to 30 days overdue",
    "31 to 60 days overdue",
    "61 to 90 days overdue",
    "More than 90 days overdue",
)
BANDS = (
    "No credit limit",
    "Nothing open",
    "Up to half used",
    "More than half used",
    "Above the limit",
)
NO_CUSTOMERS = "There are no customers."


def customers_section(figures: Figures) -> Section:
    """All figures about customers and receivables."""
    as_of = text.day(figures.state.as_of)
    return Section(
        "customers",
        "Customers and receivables",
        f"All orders and payments, with ages as of {as_of}. The shop has no terms of payment: an"
        " order is due 30 days after it was shipped, and payments pay the oldest amounts first.",
        _cards(figures),
        [
            _ages(figures),
            _payments(figures),
            _segments(figures),
            _credit(figures),
            _debtors(figures),
            _matches(figures),
            _differences(figures),
        ],
    )


def _cards(figures: Figures) -> list[Card]:
    ((owed, debtors, overdue, late, advance, advancing, above),) = figures.receivables
    rate = text.percent_of(overdue, owed)
    share = "" if rate is None else f"{text.percent(rate)} of it, "
    return [
        Card("Receivables", text.money(owed), CURRENCY, [Note(f"owed by {_customers(debtors)}")]),
        Card("Overdue", text.money(overdue), CURRENCY, [Note(f"{share}by {_customers(late)}")]),
        Card(
            "Paid in advance",
            text.money(advance),
            CURRENCY,
            [Note(f"more than ordered, by {_customers(advancing)}")],
        ),
        Card("Above their credit limit", text.whole(above), "", [Note("customers")]),
    ]


def _customers(number: int) -> str:
    return text.counted(number, "customer", "customers")


def _ages(figures: Figures) -> Figure:
    title = f"Receivables by days overdue, {CURRENCY}"
    whole = sum((amount for _, _, amount in figures.ages), Decimal())
    if not whole:
        return Figure("ages", title, "Nobody owes anything.")
    rows = [(AGES[n], count, amount) for n, count, amount in figures.ages]
    oldest = rows[-1][2]
    lede = f"{text.money(oldest)} are more than 90 days overdue"
    lede += f", {text.percent(text.percent_of(oldest, whole))} of all receivables."
    chart = charts.bars(
        "ages",
        title,
        lede,
        [
            Bar(name, amount, text.money(amount), is_warning=name != AGES[0])
            for name, _, amount in rows
        ],
    )
    table = Table(
        "Receivables by days overdue",
        [
            ("Age", "name"),
            ("Customers", "count"),
            ("Amount", "money"),
            ("Share", "percent"),
        ],
        [(*row, text.percent_of(row[2], whole)) for row in rows],
        ["Total", None, whole, text.percent_of(whole, whole)],
    )
    legend = [("bar", "not due"), ("bar warning", "overdue")]
    return Figure("ages", title, lede, chart, [table], legend)


def _payments(figures: Figures) -> Figure:
    title = f"Paid and ordered by month, {CURRENCY}"
    dated = [row for row in figures.payments if row[0]]
    if not dated:
        return Figure("payments", title, "Nothing was ordered or paid.")
    last = dated[-1]
    lede = f"In {text.month(last[0])} {text.money(last[2])} were paid, and {text.money(last[3])}"
    lede += f" ordered. At its end customers owed {text.money(last[5])} in total."
    points = [
        Column(
            text.month(month),
            paid,
            f"{text.month(month)}: {text.money(paid)} paid, {text.money(ordered)} ordered",
            ordered,
        )
        for month, _, paid, ordered, _, _ in dated
    ]
    table = Table(
        f"Paid and ordered by month, the last {MONTHS} months",
        [
            ("Month", "month"),
            ("Payments", "count"),
            ("Paid", "money"),
            ("Ordered", "money"),
            ("Ordered minus paid", "money change"),
            ("Balance at the end", "money"),
        ],
        figures.payments,
    )
    legend = [("bar", "paid"), ("level", "ordered")]
    chart = charts.columns("payments", title, lede, points)
    return Figure("payments", title, lede, chart, [table], legend)


def _segments(figures: Figures) -> Figure:
    title = "Customers by segment"
    found = {row[0]: row for row in figures.segments}
    # A segment that is new in the mart comes last.
    names = [n for n in SEGMENTS if n in found] + sorted(found.keys() - set(SEGMENTS))
    if not names:
        return Figure("segments", title, NO_CUSTOMERS)
    rows = [found[name] for name in names]
    whole = sum((row[3] for row in rows), Decimal())
    high = sum(row[4] for row in rows)
    lede = f"{_customers(high)} may be lost: the time since their last order is more than three"
    lede += " times as long as usual between their orders."
    chart = charts.bars(
        "segments", title, lede, [Bar(row[0], row[1], text.whole(row[1])) for row in rows]
    )
    table = Table(
        title,
        [
            ("Segment", "name"),
            ("Customers", "count"),
            ("Orders", "count"),
            ("Revenue", "money"),
            ("Share", "percent"),
            ("High risk of loss", "count"),
            ("Medium", "count"),
            ("Low", "count"),
        ],
        [(*row[:4], text.percent_of(row[3], whole), *row[4:]) for row in rows],
        ["Total", *_sums(rows, 1, 2, 3), text.percent_of(whole, whole), *_sums(rows, 4, 5, 6)],
    )
    return Figure("segments", title, lede, chart, [table])


def _credit(figures: Figures) -> Figure:
    title = "Customers by use of their credit limit"
    if not figures.credit:
        return Figure("credit", title, NO_CUSTOMERS)
    rows = [(BANDS[band], *sums) for band, *sums in figures.credit]
    _, whole, limits, owed = (None, *_sums(rows, 1, 2, 3))
    lede = f"{_customers(whole)} have limits of {text.money(limits)} in total, and"
    lede += f" {text.money(owed)} are open."
    chart = charts.bars(
        "credit",
        title,
        lede,
        [Bar(row[0], row[1], text.whole(row[1]), is_warning=row[0] == BANDS[-1]) for row in rows],
    )
    table = Table(
        title,
        [
            ("Credit limit", "name"),
            ("Customers", "count"),
            ("Limits", "money"),
            ("Open", "money"),
        ],
        rows,
        ["Total", whole, limits, owed],
    )
    return Figure("credit", title, lede, chart, [table])


def _debtors(figures: Figures) -> Figure:
    title = f"The {TOP} customers who owe most"
    if not figures.debtors:
        return Figure("debtors", title, "Nobody owes anything.", is_wide=True)
    table = Table(
        title,
        [
            ("Customer", "name"),
            ("Territory", "name"),
            ("Open", "money"),
            ("Overdue", "money"),
            ("Credit limit", "money"),
            ("Limit used", "percent"),
            ("Above the limit", "code"),
            ("Oldest due date", "day"),
        ],
        [
            (
                *(name, territory, owed, overdue, limit),
                text.percent_of(owed, limit or 0),
                *("yes" if is_above else "no", due),
            )
            for name, territory, owed, overdue, limit, is_above, due in figures.debtors
        ],
    )
    return Figure("debtors", title, "", tables=[table], is_wide=True)


def _matches(figures: Figures) -> Figure:
    title = f"Orders and payments that match, {CURRENCY}"
    if not figures.matches:
        return Figure("matches", title, "Nothing was ordered or paid.")
    counts = {status: count for status, count, *_ in figures.matches}
    difference = sum((row[4] for row in figures.matches), Decimal())
    orders = text.counted(counts.get("Order without payment", 0), "order", "orders")
    payments = text.counted(counts.get("Payment without order", 0), "payment", "payments")
    lede = (
        f"{text.whole(counts.get('Matched', 0))} orders have a payment of exactly their amount;"
        f" {orders} and {payments} do not match. They differ by {text.money(difference)} in total,"
        " which is what customers owe, minus what they paid in advance."
    )
    chart = charts.bars(
        "matches",
        title,
        lede,
        [
            Bar(status, max(ordered, paid), text.money(max(ordered, paid)))
            for status, _, ordered, paid, _ in figures.matches
        ],
    )
    table = Table(
        "Orders and payments that match",
        [
            ("Status", "name"),
            ("Rows", "count"),
            ("Ordered", "money"),
            ("Paid", "money"),
            ("Difference", "money change"),
        ],
        figures.matches,
        ["Total", *_sums(figures.matches, 1, 2, 3, 4)],
    )
    return Figure("matches", title, lede, chart, [table], is_wide=True)


def _differences(figures: Figures) -> Figure:
    title = f"The {TOP} largest differences between orders and payments"
    if not figures.differences:
        return Figure("differences", title, "Every order has its payment.", is_wide=True)
    table = Table(
        title,
        [
            ("Customer", "name"),
            ("Status", "name"),
            ("Order", "code"),
            ("Check", "code"),
            ("Day", "day"),
            ("Difference", "money change"),
        ],
        figures.differences,
    )
    lede = "They include unpaid orders, orders paid in parts and payments in advance."
    return Figure("differences", title, lede, tables=[table], is_wide=True)


def _sums(rows: list[tuple[Any, ...]], *places: int) -> list[Any]:
    """The sums of columns, by their places."""
    return [sum(row[place] for row in rows) for place in places]
