"""A state of the live page, made up, for tests that need no warehouse."""

from __future__ import annotations

import copy
from datetime import date, timedelta
from typing import Any

DAY = date(2026, 11, 20)
NOTHING = {"orders": 0, "units": 0, "revenue": "0.00"}
# By hour: what was sold today, yesterday and a week before. The last hours of today are to come.
HOURS = {9: (1, 2, 3), 14: (2, 1, 0), 15: (0, 4, 1)}
BUILT_AT = "2026-11-20T15:02:03.250+00:00"
TESTED_AT = "2026-11-20T15:02:04.500+00:00"


def sold(orders: int | None, units: int, revenue: str) -> dict[str, Any]:
    return {"orders": orders, "units": units, "revenue": revenue}


def hours_of(place: int) -> dict[str, Any]:
    """The hours of a day: each order has ten pieces and brings 1,000.10."""
    day = [
        sold(n, 10 * n, f"{n * 100010 / 100:.2f}")
        for n in (HOURS.get(hour, (0, 0, 0))[place] for hour in range(24))
    ]
    return {"in_day": day, "other_day": NOTHING, "unknown": sold(1, 5, "0.05")}


def order(number: int, **more: Any) -> dict[str, Any]:
    """One of the newest orders."""
    return {
        "number": number,
        "seen_at": "2026-11-20T14:02:31.123Z",
        "is_commit": True,
        "country": "France",
        "lines": ["Classic Cars", "Ships"],
        "units": 10,
        "revenue": "1000.10",
        "status": "In Process",
        **more,
    }


FIGURES: dict[str, Any] = {
    "day": str(DAY),
    "orders_changed_at": "2026-11-20T14:02:32.000Z",
    "today": {"day": str(DAY), **sold(4, 35, "3000.35")},
    "yesterday": {"day": str(DAY - timedelta(1)), **sold(8, 75, "7000.75")},
    "week_before": {"day": str(DAY - timedelta(7)), **sold(5, 45, "4000.45")},
    "shares": {
        "yesterday": {"orders": "50.0", "units": "46.7", "revenue": "42.9"},
        "week_before": {"orders": "80.0", "units": "77.8", "revenue": None},
    },
    "days": [
        {"day": str(DAY - timedelta(29 - n)), **sold(n, 10 * n, f"{n}000.25")} for n in range(29)
    ]
    + [{"day": str(DAY), **sold(4, 35, "3000.35")}],
    "hours": {
        "today": hours_of(0),
        "yesterday": hours_of(1),
        "week_before": hours_of(2),
    },
    "lines": [
        {
            "name": "Classic Cars",
            "today": sold(3, 20, "2000.30"),
            "days": sold(90, 900, "90000.00"),
        },
        {"name": "Ships", "today": sold(2, 15, "1000.05"), "days": sold(30, 100, "1000.00")},
    ],
    "regions": [
        {
            "name": "Europe",
            "today": sold(None, 35, "3000.35"),
            "days": sold(None, 1000, "91000.00"),
        }
    ],
    "orders": [order(10430), order(10429, is_commit=False, seen_at="2026-11-19T06:30:00.000Z")],
}
STATE: dict[str, Any] = {
    "figures": FIGURES,
    "through": "2026-11-20T15:02:01.500Z",
    "built_at": BUILT_AT,
    "tested_at": TESTED_AT,
    "failed": [],
    "slow": {"built_at": "2026-11-20T15:00:00Z", "every": 300.0},
    "mode": "log",
    "source": "mysql://watcher:secret@shop.example/classicmodels",
    "warehouse": "duckdb: warehouse.duckdb",
    "error": "",
}


def state(**more: Any) -> dict[str, Any]:
    """A copy, with other values."""
    return {**copy.deepcopy(STATE), **more}


def with_figures(**more: Any) -> dict[str, Any]:
    """A copy with other figures."""
    return state(figures={**copy.deepcopy(FIGURES), **more})
