"""What the live page shows of the marts: today's sales, 30 days, and the newest orders.

One SQL for DuckDB and PostgreSQL. It reads sales_by_hour, which holds 30 days, and of the larger
tables only the orders of these days, so that it can be asked after each batch of a watch. It names
no column with personal data. Values are exact: amounts are decimals, written as text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from pages.report.figures import DAYS, literal
from pages.report.text import percent_of

Ask = Callable[[str], list[tuple[Any, ...]]]
Json = dict[str, Any]

NEWEST = 20  # orders that are listed
# The days that are compared hour by hour, and how many days before today they are.
COMPARED = {"today": 0, "yesterday": 1, "week_before": 7}
# Kinds of hours: one of the day itself (UTC), one of another day, or an unknown one.
IN_DAY, OTHER_DAY, UNKNOWN = "in_day", "other_day", "unknown"


@dataclass(frozen=True)
class Sold:
    """What was sold; `revenue` in US dollars. `orders` is None where counts do not add up."""

    orders: int | None = 0
    units: int = 0
    revenue: Decimal = Decimal("0.00")

    def __add__(self, other: Sold) -> Sold:
        known = None not in (self.orders, other.orders)
        return Sold(
            (self.orders or 0) + (other.orders or 0) if known else None,
            self.units + other.units,
            self.revenue + other.revenue,
        )

    def as_json(self) -> Json:
        """Amounts as text, because JSON's numbers are not exact everywhere."""
        return {"orders": self.orders, "units": self.units, "revenue": f"{self.revenue:f}"}


def live_figures(ask: Ask, marts: str = "marts", today: date | None = None) -> Json:
    """All figures as one JSON document. Raises what `ask` raises.

    `today` is the day with which the marts were built; without it, that of sales_by_hour, or where
    nothing was sold in its days, of sales_last_30_days. `marts` is the name of the schema.
    """
    ((as_of, orders_changed_at),) = ask(STATE.format(marts=marts))
    day = today or as_of or datetime.now(UTC).date()
    values = {
        "marts": marts,
        "first": literal(day - timedelta(DAYS - 1)),
        "today": literal(day),
        "compared": ", ".join(literal(day - timedelta(n)) for n in COMPARED.values()),
        "newest": NEWEST,
    }

    def rows(query: str, **more: str) -> list[tuple[Any, ...]]:
        return ask(query.format(**values, **more))

    counts, newest = rows(ORDERS), rows(NEWEST_ORDERS)
    numbers = ", ".join(str(row[0]) for row in newest)
    days = _by_day(day, rows(SALES_BY_DAY), counts)
    lines, regions = _by_name(rows(SALES_BY_NAME))
    found = {name: days[day - timedelta(n)] for name, n in COMPARED.items()}
    return {
        "day": str(day),
        "orders_changed_at": _moment(orders_changed_at),
        **{
            name: {"day": str(day - timedelta(n)), **found[name].as_json()}
            for name, n in COMPARED.items()
        },
        "shares": {name: _shares(found["today"], found[name]) for name in list(COMPARED)[1:]},
        "days": [{"day": str(when), **sold.as_json()} for when, sold in days.items()],
        "hours": _by_hour(day, rows(SALES_BY_HOUR), counts),
        "lines": lines,
        "regions": regions,
        "orders": _newest(newest, rows(LINES_OF_ORDERS, numbers=numbers) if numbers else []),
    }


def _by_day(
    today: date, sales: Iterable[tuple[Any, ...]], counts: Iterable[tuple[Any, ...]]
) -> dict[date, Sold]:
    """Each of the 30 days up to today, in order, also those without sales."""
    days = {today - timedelta(n): Sold() for n in reversed(range(DAYS))}
    for day, units, revenue in sales:
        days[day] += Sold(0, units, revenue)
    for day, _, _, orders in counts:
        days[day] += Sold(orders)
    return days


def _by_hour(
    today: date, sales: Iterable[tuple[Any, ...]], counts: Iterable[tuple[Any, ...]]
) -> Json:
    """For each compared day: its 24 hours, what came on another day, and what has no hour."""
    found: dict[tuple[date, str, int], Sold] = {}

    def add(day: date, moment: datetime | None, is_known: bool, sold: Sold) -> None:
        if not is_known or moment is None:
            place = (day, UNKNOWN, 0)
        elif moment.date() == day:
            place = (day, IN_DAY, moment.hour)
        else:
            place = (day, OTHER_DAY, 0)
        found[place] = found.get(place, Sold()) + sold

    for day, moment, is_known, units, revenue in sales:
        add(day, moment, is_known, Sold(0, units, revenue))
    for day, moment, is_known, orders in counts:
        if (today - day).days in COMPARED.values():
            add(day, moment, is_known, Sold(orders))
    nothing = Sold()
    hours = {}
    for name, before in COMPARED.items():
        day = today - timedelta(before)
        hours[name] = {
            IN_DAY: [found.get((day, IN_DAY, hour), nothing).as_json() for hour in range(24)],
            OTHER_DAY: found.get((day, OTHER_DAY, 0), nothing).as_json(),
            UNKNOWN: found.get((day, UNKNOWN, 0), nothing).as_json(),
        }
    return hours


def _by_name(sales: Iterable[tuple[Any, ...]]) -> tuple[list[Json], list[Json]]:
    """Today and the 30 days by product line, and by region, the largest of today first."""
    lines: dict[Any, list[Sold]] = {}
    regions: dict[Any, list[Sold]] = {}
    for line, region, *sums in sales:
        sold = [Sold(*sums[:3]), Sold(*sums[3:])]
        # An order can have several product lines, so these counts add up within a line only.
        uncounted = [replace(each, orders=None) for each in sold]
        for names, name, added in ((lines, line, sold), (regions, region, uncounted)):
            known = names.get(name)
            names[name] = [a + b for a, b in zip(known, added, strict=True)] if known else added

    def in_order(names: dict[Any, list[Sold]]) -> list[Json]:
        ordered = sorted(
            names.items(), key=lambda found: (*(-sold.revenue for sold in found[1]), str(found[0]))
        )
        return [
            {"name": name, "today": now.as_json(), "days": days.as_json()}
            for name, (now, days) in ordered
        ]

    return in_order(lines), in_order(regions)


def _newest(orders: Iterable[tuple[Any, ...]], lines: Iterable[tuple[Any, ...]]) -> list[Json]:
    """The newest orders, the newest first, each with its product lines."""
    found: dict[int, dict[Any, Sold]] = {}
    for number, line, units, revenue in lines:
        found.setdefault(number, {})[line] = Sold(0, units, revenue)
    shown = []
    for number, seen_at, is_commit, country, status in orders:
        of_lines = found.get(number, {})  # an order may have no lines yet
        sold = sum(of_lines.values(), Sold())
        shown.append(
            {
                "number": number,
                "seen_at": _moment(seen_at),
                "is_commit": bool(is_commit),
                "country": country,
                "lines": sorted(of_lines, key=str),
                "units": sold.units,
                "revenue": f"{sold.revenue:f}",
                "status": status,
            }
        )
    return shown


def _shares(now: Sold, before: Sold) -> Json:
    """Today in percent of a whole day, rounded to tenths; None where that day had nothing."""
    pairs = {
        "orders": (now.orders, before.orders),
        "units": (now.units, before.units),
        "revenue": (now.revenue, before.revenue),
    }
    shares = {name: percent_of(a or 0, b or 0) for name, (a, b) in pairs.items()}
    return {name: None if share is None else str(share) for name, share in shares.items()}


def _moment(value: datetime | None) -> str | None:
    """A moment of the marts, which are in UTC."""
    return None if value is None else f"{value.isoformat(timespec='milliseconds')}Z"


STATE = """
select
    coalesce(
        (select max(as_of_date) from {marts}.sales_by_hour),
        (select max(as_of_date) from {marts}.sales_last_30_days)
    ),
    (select max(_loaded_at) from {marts}.fact_orders)
"""

SALES_BY_DAY = """
select
    order_date,
    cast(sum(unit_count) as bigint),
    sum(revenue_amount)
from {marts}.sales_by_hour
where order_date between {first} and {today}
group by order_date
"""

SALES_BY_HOUR = """
select
    order_date,
    sales_hour_at,
    is_hour_known,
    cast(sum(unit_count) as bigint),
    sum(revenue_amount)
from {marts}.sales_by_hour
where order_date in ({compared})
group by order_date, sales_hour_at, is_hour_known
"""

SALES_BY_NAME = """
select
    product_line,
    region,
    cast(sum(case when order_date = {today} then order_count else 0 end) as bigint),
    cast(sum(case when order_date = {today} then unit_count else 0 end) as bigint),
    sum(case when order_date = {today} then revenue_amount else 0 end),
    cast(sum(order_count) as bigint),
    cast(sum(unit_count) as bigint),
    sum(revenue_amount)
from {marts}.sales_by_hour
where order_date between {first} and {today}
group by product_line, region
"""

# The counts of sales_by_hour do not add up over product lines. Hours are needed of few days only.
ORDERS = """
with orders as (
    select
        order_date,
        case
            when order_date in ({compared}) and is_first_seen_in_log
                then date_trunc('hour', first_seen_at)
        end as sales_hour_at,
        order_date in ({compared}) and is_first_seen_in_log as is_hour_known
    from {marts}.fact_order_life as life
    where
        not is_deleted
        and not is_cancelled
        and order_date between {first} and {today}
        -- an order without lines is not counted; PostgreSQL finds this in the index alone
        and exists (
            select 1
            from {marts}.fact_orders as order_lines
            where order_lines.order_number = life.order_number
        )
)
select order_date, sales_hour_at, is_hour_known, count(*)
from orders
group by order_date, sales_hour_at, is_hour_known
"""

# Many orders have one time, if a load brought them together; then the last by day and number.
NEWEST_ORDERS = """
with newest as (
    select
        order_number,
        first_seen_at,
        is_first_seen_in_log,
        order_date,
        location_key,
        order_status
    from {marts}.fact_order_life
    where not is_deleted
    order by
        first_seen_at desc,
        coalesce(order_date, cast('0001-01-01' as date)) desc,
        order_number desc
    limit {newest}
)
select
    newest.order_number,
    newest.first_seen_at,
    newest.is_first_seen_in_log,
    coalesce(locations.country_standard_name, locations.country),
    coalesce(newest.order_status, 'Unknown')
from newest
left join {marts}.dim_locations as locations on newest.location_key = locations.location_key
order by
    newest.first_seen_at desc,
    coalesce(newest.order_date, cast('0001-01-01' as date)) desc,
    newest.order_number desc
"""

# By number, because no warehouse carries a subquery into so large a table.
LINES_OF_ORDERS = """
select
    order_lines.order_number,
    products.product_line,
    cast(sum(order_lines.quantity_ordered) as bigint),
    sum(order_lines.revenue_amount)
from {marts}.fact_orders as order_lines
left join {marts}.dim_products as products
    on order_lines.product_version_key = products.product_version_key
where order_lines.order_number in ({numbers})
group by order_lines.order_number, products.product_line
"""
