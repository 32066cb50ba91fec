"""The live page as one HTML document, which asks its own server for news and nobody else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Template
from markupsafe import Markup

from pages.files import templates
from pages.live.parts import REPORT, Json, figures_shown
from pages.report.figures import CURRENCY, DAYS

HERE = Path(__file__).parent
ABOUT = (
    f"Revenue is the amount of order lines in {CURRENCY}, to the cent, without cancelled orders.",
    "Today is the day that the marts take for today; its hours are those of UTC. The day of an"
    " order is the shop's. Today is compared with whole days, so it reaches them in the evening.",
    "An order can have several product lines. So counts of orders do not add up over them.",
    f"An average day is the revenue of the last {DAYS} days, today among them, divided by {DAYS}.",
    "The figures come from sales_by_hour, fact_order_life, fact_orders, dim_locations and"
    " dim_products in the warehouse; the catalog describes every column. This page has no personal"
    " data.",
)


def page_of(state: Json, parts: Mapping[str, str], *, seen: str, clock: int, announced: str) -> str:
    """The document with a state in it; `seen` is the state's number, `clock` the time in ms."""
    return _template().render(
        parts={name: Markup(html) for name, html in parts.items()},
        figures=figures_shown(state),
        about=ABOUT,
        style=Markup(_style()),
        script=Markup(_script()),
        seen=seen,
        clock=clock,
        announced=announced,
    )


@cache
def headers() -> dict[str, str]:
    """What the page may do: run its own script, and ask its own server."""
    mark = base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode()
    allowed = (
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{mark}'",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
    return {"Content-Security-Policy": "; ".join(allowed)}


@cache
def _template() -> Template:
    return templates(HERE, REPORT).get_template("page.html.jinja")


@cache
def _script() -> str:
    return (HERE / "live.js").read_text("utf-8")


@cache
def _style() -> str:
    return (REPORT / "page.css").read_text("utf-8") + (HERE / "live.css").read_text("utf-8")
