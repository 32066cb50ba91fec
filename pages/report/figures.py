"""What the report shows, read from the marts: only sums, whatever the size of the shop.

The SQL runs on DuckDB, PostgreSQL and Redshift. It names every column and none with personal data,
so a role that may not read personal data can write the report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

Rows = list[tuple[Any, ...]]
Ask = Callable[[str], Rows]

DAYS = 30
TOP = 10  # products, debtors and differences that are listed
MONTHS = 24
NOW, BEFORE, YEAR = "now", "before", "year"
CURRENCY = "USD"  # the unit of each amount in the catalog; a test compares them


@dataclass(frozen=True)
class Period:
    """Days from the first to the last, both included."""

    first: date
    last: date

    @classmethod
    def ending(cls, last: date) -> Period:
        """The thirty days that end with one."""
        return cls(last - timedelta(DAYS - 1), last)

    @property
    def days(self) -> list[date]:
        """Each of its days."""
        return [self.first + timedelta(n) for n in range((self.last - self.first).days + 1)]


@dataclass(frozen=True)
class State:
    """The day that the marts take for today, and how far the data go."""

    as_of: date
    data_through: date | None
    last_sale: date | None  # the last day with sales up to `as_of`
    loaded_at: datetime | None  # when orders last changed

    @property
    def is_shifted(self) -> bool:
        """Whether the thirty days up to `as_of` have no sales, but earlier days have."""
        return self.last_sale is not None and self.last_sale < Period.ending(self.as_of).first

    @property
    def periods(self) -> dict[str, Period]:
        """The days that are shown, those before them, and the same days a year earlier."""
        last = self.last_sale if self.last_sale and self.is_shifted else self.as_of
        return {
            NOW: Period.ending(last),
            BEFORE: Period.ending(last - timedelta(DAYS)),
            YEAR: Period.ending(a_year_before(last)),
        }

    def days_known(self, days: Sequence[date]) -> int:
        """How many of the days have data already."""
        return sum(self.data_through is not None and day <= self.data_through for day in days)


def a_year_before(day: date) -> date:
    """The same day of the calendar; 28 February for the 29th, as in databases."""
    try:
        return day.replace(year=day.year - 1)
    except ValueError:
        return day.replace(year=day.year - 1, day=28)


@dataclass(frozen=True)
class Sold:
    """What was sold in one period: pieces, and amounts in US dollars."""

    orders: int = 0
    units: int = 0
    revenue: Decimal = Decimal("0.00")
    margin: Decimal = Decimal("0.00")

    def __add__(self, other: Sold) -> Sold:
        return Sold(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True)
class Sales:
    """What was sold in each period, for example of one product line or in one country."""

    name: Any
    periods: dict[str, Sold]

    def __getitem__(self, period: str) -> Sold:
        return self.periods.get(period, Sold())


def total(sales: Iterable[Sales], name: str) -> Sales:
    """The sums of all sales."""
    found = list(sales)
    return Sales(name, {p: sum((s[p] for s in found), Sold()) for p in (NOW, BEFORE, YEAR)})


def folded(sales: Sequence[Sales], most: int, others: str) -> list[Sales]:
    """The largest ones; where there are more than `most`, the last one sums up the others."""
    if len(sales) <= most:
        return list(sales)
    rest = sales[most - 1 :]
    return [*sales[: most - 1], total(rest, f"{len(rest):,} {others}")]


@dataclass(frozen=True)
class Figures:
    """Everything that the report shows. Rows have the columns of the query of the same name."""

    state: State
    by_day: Mapping[str, Sequence[Sold]]  # for each period, one for each of its days
    by_line: Sequence[Sales]
    by_region: Sequence[Sales]
    by_country: Sequence[Sales]
    products: Rows
    arrivals: Rows
    receivables: Rows  # one row
    ages: Rows
    debtors: Rows
    credit: Rows
    segments: Rows
    payments: Rows
    matches: Rows
    differences: Rows


def read_figures(ask: Ask, marts: str) -> Figures:
    """Read everything; `marts` is the name of the schema. Raises what `ask` raises."""
    ((as_of, data_through, loaded_at),) = ask(STATE.format(marts=marts))
    ((last_sale,),) = ask(LAST_SALE.format(marts=marts, as_of=literal(as_of)))
    state = State(as_of, data_through, last_sale, loaded_at)
    now, before = state.periods[NOW], state.periods[BEFORE]
    values = {
        "marts": marts,
        "top": TOP,
        "now": between(now),
        "before": between(before),
        "both": between(Period(before.first, now.last)),
        "period": "case "
        + " ".join(f"when {between(days)} then '{name}'" for name, days in state.periods.items())
        + " end",
        "first_month": literal(months_before(data_through or as_of, MONTHS - 1)),
    }

    def rows(query: str, **more: str) -> Rows:
        return ask(query.format(**values, **more))

    def sales_by(dimension: str) -> list[Sales]:
        return sales_of(rows(SALES, dimension=dimension))

    orders: dict[date, int] = dict(rows(ORDERS))
    days = {sales.name: sales for sales in sales_by("order_date")}

    def sold_on(day: date, period: str) -> Sold:
        found = days[day][period] if day in days else Sold()
        return replace(found, orders=orders.get(day, 0))

    return Figures(
        state=state,
        by_day={
            name: [sold_on(day, name) for day in period.days]
            for name, period in state.periods.items()
        },
        by_line=sales_by("product_line"),
        by_region=sales_by("region"),
        by_country=sales_by("country"),
        products=rows(PRODUCTS),
        arrivals=rows(ARRIVALS),
        receivables=rows(RECEIVABLES),
        ages=sorted(rows(AGES)),
        debtors=rows(DEBTORS),
        credit=rows(CREDIT),
        segments=rows(SEGMENTS),
        payments=rows(PAYMENTS),
        matches=rows(MATCHES),
        differences=rows(DIFFERENCES),
    )


def sales_of(rows: Rows) -> list[Sales]:
    """The rows of SALES by name, the largest revenue of the shown days first."""
    found: dict[Any, dict[str, Sold]] = {}
    for name, period, *sums in rows:
        found.setdefault(name, {})[period] = Sold(*sums)
    sales = [Sales(name, periods) for name, periods in found.items()]
    return sorted(sales, key=lambda s: (-s[NOW].revenue, -s[BEFORE].revenue, str(s.name)))


def months_before(day: date, months: int) -> date:
    """The first day of the month that is some months before that of a day."""
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    return date(year, month + 1, 1)


def literal(day: date) -> str:
    """A day in SQL."""
    return f"cast('{day}' as date)"


def between(period: Period) -> str:
    """The condition in SQL that an order is in a period."""
    return f"order_date between {literal(period.first)} and {literal(period.last)}"


STATE = """
select
    max(as_of_date),
    max(data_through_date),
    (select max(_loaded_at) from {marts}.fact_orders)
from {marts}.customer_receivables
"""

LAST_SALE = """
select max(order_date)
from {marts}.sales_daily
where line_count > 0 and order_date <= {as_of}
"""

# The mart's order counts add up only within a product line; ORDERS counts the orders of a day.
SALES = """
with sales as (
    select
        {dimension} as name,
        {period} as period,
        order_count,
        unit_count,
        revenue_amount,
        gross_margin_amount
    from {marts}.sales_daily
    where line_count > 0
)
select
    name,
    period,
    cast(sum(order_count) as bigint),
    cast(sum(unit_count) as bigint),
    sum(revenue_amount),
    sum(gross_margin_amount)
from sales
where period is not null
group by name, period
"""

# An order has one day, so these add up.
ORDERS = """
select order_date, count(distinct order_number)
from {marts}.fact_orders
where is_revenue and {period} is not null
group by order_date
"""

PRODUCTS = """
with sold as (
    select
        product_key,
        sum(case when {now} then quantity_ordered else 0 end) as unit_count,
        sum(case when {now} then revenue_amount else 0 end) as revenue_amount,
        sum(case when {before} then revenue_amount else 0 end) as revenue_amount_before,
        sum(case when {now} then gross_margin_amount else 0 end) as gross_margin_amount
    from {marts}.fact_orders
    where is_revenue and {both}
    group by product_key
)
select
    products.product_name,
    products.product_line,
    cast(sold.unit_count as bigint),
    sold.revenue_amount,
    sold.revenue_amount_before,
    sold.gross_margin_amount,
    products.quantity_in_stock_now,
    products.stock_cover_days
from sold
left join {marts}.product_performance as products on sold.product_key = products.product_key
where sold.unit_count > 0
order by sold.revenue_amount desc, sold.product_key
limit {top}
"""

ARRIVALS = """
select
    hour_of_day,
    is_first_load,
    cast(sum(order_count) as bigint),
    cast(sum(unit_count) as bigint),
    sum(revenue_amount),
    min(arrived_hour_at)
from {marts}.sales_by_arrival_hour
group by hour_of_day, is_first_load
order by hour_of_day
"""

RECEIVABLES = """
select
    sum(open_amount),
    sum(case when open_amount > 0 then 1 else 0 end),
    sum(overdue_amount),
    sum(case when overdue_amount > 0 then 1 else 0 end),
    sum(case when balance_amount < 0 then -balance_amount else 0 end),
    sum(case when balance_amount < 0 then 1 else 0 end),
    sum(case when is_over_credit_limit then 1 else 0 end)
from {marts}.customer_receivables
"""

AGE = """
select
    {number},
    sum(case when {column} > 0 then 1 else 0 end),
    sum({column})
from {{marts}}.customer_receivables
"""
AGES = "union all".join(
    AGE.format(number=number, column=column)
    for number, column in enumerate(
        (
            "not_due_amount",
            "overdue_1_to_30_amount",
            "overdue_31_to_60_amount",
            "overdue_61_to_90_amount",
            "overdue_over_90_amount",
        )
    )
)

DEBTORS = """
select
    customer_name,
    territory,
    open_amount,
    overdue_amount,
    credit_limit,
    is_over_credit_limit,
    oldest_due_date
from {marts}.customer_receivables
where open_amount > 0
order by open_amount desc, customer_key
limit {top}
"""

# By the part of the limit that is used, without the unknown customer, which has no limit.
CREDIT = """
with customers as (
    select
        case
            when is_over_credit_limit then 4
            when coalesce(credit_limit, 0) <= 0 then 0
            when open_amount = 0 then 1
            when open_amount * 2 <= credit_limit then 2
            else 3
        end as band,
        open_amount,
        credit_limit
    from {marts}.customer_receivables
    where customer_key <> '-1'
)
select band, count(*), coalesce(sum(credit_limit), 0), sum(open_amount)
from customers
group by band
order by band
"""

SEGMENTS = """
select
    segment,
    count(*),
    cast(sum(order_count) as bigint),
    sum(revenue_amount),
    sum(case when churn_risk = 'High' then 1 else 0 end),
    sum(case when churn_risk = 'Medium' then 1 else 0 end),
    sum(case when churn_risk = 'Low' then 1 else 0 end)
from {marts}.customer_segments
group by segment
"""

PAYMENTS = """
select
    month_start_date,
    payment_count,
    payment_amount,
    ordered_amount,
    difference_amount,
    balance_amount
from {marts}.payments_monthly
where month_start_date is null or month_start_date >= {first_month}
order by coalesce(month_start_date, cast('1900-01-01' as date))
"""

MATCHES = """
select match_status, count(*), sum(order_amount), sum(payment_amount), sum(difference_amount)
from {marts}.payment_matches
group by match_status
order by match_status
"""

DIFFERENCES = """
select
    customers.customer_name,
    matches.match_status,
    matches.order_number,
    matches.check_number,
    coalesce(matches.order_date, matches.payment_date),
    matches.difference_amount
from {marts}.payment_matches as matches
left join {marts}.customer_receivables as customers
    on matches.customer_key = customers.customer_key
where matches.difference_amount <> 0
order by abs(matches.difference_amount) desc, matches.payment_match_key
limit {top}
"""
