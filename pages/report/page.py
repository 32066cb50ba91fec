"""The report as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from pages.files import filled, replace_file
from pages.report import text
from pages.report.customers import customers_section
from pages.report.figures import DAYS, Figures, State
from pages.report.sales import sales_section

ABOUT = (
    "Revenue is the amount of order lines in US dollars, to the cent, without cancelled orders."
    " Gross margin is revenue minus cost, for lines whose cost is known.",
    "Changes are in percent of the earlier value, rounded to tenths. A dash means that there is no"
    " earlier value, or that the value is not known.",
    "An order can have several product lines. So orders are counted in total, by day and by product"
    " line, and the counts of product lines do not add up to the total.",
    "Product line and country are as they were on the day of the order. Names of products, stock"
    " and credit limits are those of today.",
    "The figures come from sales_daily, fact_orders, product_performance, sales_by_arrival_hour,"
    " customer_receivables, customer_segments, payments_monthly and payment_matches in the"
    " warehouse; the catalog describes every column. This page has no personal data.",
    "To see another day: make build AS_OF_DATE=2026-11-20. To write the page again: make report.",
)


def write_page(
    page: Path,
    figures: Figures,
    written_at: datetime,
    origin: Mapping[str, str],
    warnings: Sequence[str] = (),
) -> None:
    """Write the page: the arguments are those of `render`. Raises OSError."""
    replace_file(page, render(figures, written_at, origin, warnings))


def render(
    figures: Figures,
    written_at: datetime,
    origin: Mapping[str, str] = MappingProxyType({}),
    warnings: Sequence[str] = (),
) -> str:
    """The page; `written_at` is UTC, `origin` names shop and warehouse.

    `warnings` are sentences of the build's tests.
    """
    return filled(
        Path(__file__).with_name("page.html.jinja"),
        state=figures.state,
        notices=[*notices(figures.state), *(f"Warning: {line}" for line in warnings)],
        sections=[sales_section(figures), customers_section(figures)],
        written_at=written_at,
        origin=origin,
        about=ABOUT,
        text=text,
    )


def notices(state: State) -> list[str]:
    """What a reader must know before the first number: which days have no data."""
    if state.data_through is None:
        return ["The shop has no orders and no payments yet, so there is nothing to show."]
    as_of, through = text.day(state.as_of), f"Data go through {text.day(state.data_through)}"
    if state.last_sale is None:
        return [f"{through}, but nothing was sold up to {as_of}."]
    if state.is_shifted:
        return [
            f"Nothing was sold in the {DAYS} days to {as_of}. {through}; the last sale was on"
            f" {text.day(state.last_sale)}, so sales are those of the {DAYS} days to that day.",
            f"Ages of receivables, segments and stock are as of {as_of}. To see everything as of"
            f" the day of the last sale: make build AS_OF_DATE={state.last_sale}",
        ]
    missing = (state.as_of - state.data_through).days
    if missing > 0:
        days = "The day after that has no data yet, but is"
        if missing > 1:
            days = f"The {missing} days after that have no data yet, but are"
        return [f"{through}. {days} among the {DAYS} days up to {as_of}."]
    return []
