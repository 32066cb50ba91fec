"""What failed tests and warnings found: the first rows, and how much money they are about.

A test that knows the money of its rows has a column `amount`. Personal data are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from pipeline.dbt_runner import Dbt, Found, Result

ROWS = 3  # that are shown of each test
COLUMNS = 8
TESTS = 20  # whose rows are read
AMOUNT = "amount"


def with_rows(dbt: Dbt, results: Sequence[Result]) -> list[Result]:
    """The results; those of tests of rows that failed or warned also have what they found."""
    wanted = [r for r in results if r.kind == "test" and r.status in ("fail", "warn") and r.sql]
    found = {result.name: _found(dbt, result) for result in wanted[:TESTS]}
    return [replace(result, found=found.get(result.name)) for result in results]


def _found(dbt: Dbt, result: Result) -> Found:
    columns, _ = dbt.table(f"select * from (\n{result.sql}\n) as found where 1 = 0")
    # In one query with the rows, as it can take as long as the test itself.
    total = f"sum({AMOUNT}) over ()" if AMOUNT in columns else "null"
    query = f"select found.*, {total} as total from (\n{result.sql}\n) as found order by 1"
    # The limit is the warehouse's: drivers fetch all rows of an answer, millions of a bad day.
    _, rows = dbt.table(f"{query} limit {ROWS}")
    personal = dbt.personal_columns()
    shown = [n for n, name in enumerate(columns) if name.replace("_", "") not in personal]
    amount = Decimal(rows[0][-1] or 0) if AMOUNT in columns and rows else None
    lines = [
        ", ".join(f"{columns[n]} {written(row[n])}" for n in shown[:COLUMNS] if row[n] is not None)
        for row in rows
        if shown
    ]
    return Found(result.failures, amount, [line for line in lines if line])


def written(value: Any) -> str:
    """A value as people read it."""
    if isinstance(value, datetime):
        return str(value if value.time() != datetime.min.time() else value.date())
    if not isinstance(value, Decimal):
        return str(value)
    whole, _, decimals = f"{value:f}".partition(".")
    decimals = decimals.rstrip("0")
    return f"{whole}.{decimals:0<2}" if decimals else whole


def warning_lines(results: Sequence[Result]) -> list[str]:
    """One sentence for each warning, with its number of rows and its money; no row of it."""
    lines = []
    for result in results:
        if result.status != "warn":
            continue
        said = (result.description or result.name).partition(". ")[0].rstrip(".")
        said = said.removeprefix("Warns of ").replace("`", "")
        said = f"The source {result.name} is not fresh" if result.kind == "source" else said
        lines.append(f"{said[:1].upper()}{said[1:]}{': ' if result.found else ''}{size(result)}")
    return lines


def size(result: Result) -> str:
    """How much a test found: 2 rows, 44,167.09 USD. Empty where that is not known."""
    if result.found is None:
        return ""
    rows = f"{result.found.count:,} row{'s' if result.found.count != 1 else ''}"
    amount = result.found.amount
    return rows if amount is None else f"{rows}, {amount:,.2f} USD"
