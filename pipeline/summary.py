"""What `make build` prints at its end: sizes, revenue, what failed, where things lie."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from shlex import quote
from typing import Any

from pipeline.warehouse import Target

GOOD = {"success", "pass", "no-op"}
PARAGRAPHS = 10
SAID_LINES = 12  # of what dbt says about one failure; the log has the rest

# One question for all figures: a second one would cost as much again in dbt's start.
FIGURES = """
select 'product line' as topic, product_line_at_order as name, sum(revenue_amount) as figure
from {{ ref('orders_obt') }} group by product_line_at_order
union all
select 'territory' as topic, territory_at_order as name, sum(revenue_amount) as figure
from {{ ref('orders_obt') }} group by territory_at_order
union all
select
    'data through' as topic,
    cast(max(data_through_date) as {{ dbt.type_string() }}) as name,
    0 as figure
from {{ ref('product_performance') }}
"""
ROWS = """union all
select 'rows' as topic, '{name}' as name, count(*) as figure from {{{{ ref('{name}') }}}}
"""


def figures_query(marts: Iterable[str]) -> str:
    """The statement, in dbt's Jinja, that asks the warehouse for everything the summary shows."""
    return FIGURES + "".join(ROWS.format(name=name) for name in marts)


@dataclass(frozen=True)
class Figure:
    """One number of the summary: rows of a mart, or revenue of a product line or territory.

    Of the topic "data through" the name is the day.
    """

    topic: str
    name: str
    value: Decimal


def figures_of(table: Any) -> list[Figure]:
    """The rows of dbt's answer to `figures_query`, the largest number first."""
    rows = [
        Figure(topic, name or "(none)", Decimal(figure or 0)) for topic, name, figure in table.rows
    ]
    return sorted(rows, key=lambda row: (row.topic, -row.value, row.name))


def figure_lines(figures: Sequence[Figure], results: Sequence[Any]) -> list[str]:
    """Rows per mart beside revenue by product line and by territory."""
    if not figures:
        return []
    marts = [("Rows", "")]
    marts += [
        (f.name, f"{f.value:,.0f}")
        for f in sorted(figures, key=lambda f: f.name)
        if f.topic == "rows"
    ]
    revenue: list[tuple[str, str]] = []
    for topic in ("product line", "territory"):
        rows = [f for f in figures if f.topic == topic]
        revenue += [("", "")] if revenue else []
        revenue += [(f"Revenue by {topic}", "")]
        revenue += [(f.name, f"{f.value:,.2f}") for f in rows]
        revenue += [("total", f"{sum((f.value for f in rows), Decimal()):,.2f}")]
    height = max(len(marts), len(revenue))
    left, right = _column(marts, height), _column(revenue, height)
    lines = [f"  {a}     {b}".rstrip() for a, b in zip(left, right, strict=True)]
    old = sum(r.node.resource_type == "model" and r.status not in GOOD for r in results)
    if old:
        lines += [
            "",
            f"  {old} models were not rebuilt: figures from them are of an earlier build.",
        ]
    return lines


def _column(rows: Sequence[tuple[str, str]], height: int) -> list[str]:
    names = max(len(name) for name, _ in rows)
    values = max(len(value) for _, value in rows)
    lines = [f"{name:<{names}}  {value:>{values}}" for name, value in rows]
    return lines + [" " * (names + 2 + values)] * (height - len(rows))


def count_line(results: Sequence[Any]) -> str:
    """How many nodes of each kind were built, and how the tests went."""
    kinds = ("model", "seed", "snapshot")
    built = Counter(r.node.resource_type for r in results if r.status in GOOD)
    parts = [f"{n} {kind}{'s' if n != 1 else ''}" for kind in kinds if (n := built[kind])]
    tests = [r for r in results if r.node.resource_type in ("test", "unit_test")]
    passed = sum(r.status in GOOD for r in tests)
    text = f"{', '.join(parts)}; {passed} of {len(tests)} tests passed"
    others = Counter(str(r.status) for r in results if r.status not in GOOD)
    return text + "".join(f", {n} {status}" for status, n in sorted(others.items()))


def written_line(results: Sequence[Any]) -> str:
    """How many rows of the marts a build wrote; empty where it made a mart anew, or could not."""
    answers = [
        r.adapter_response
        for r in results
        if r.node.resource_type == "model" and r.node.config.materialized == "incremental"
    ]
    # The macro report_outcome counts; for a table that is made anew dbt says something else.
    if any(answer.get("code") != "WRITTEN" for answer in answers):
        return ""
    rows = sum(answer["rows_affected"] for answer in answers)
    if not rows:
        return "nothing has changed: no row of any mart was written"
    return f"{rows:,} rows of the marts were changed, new or gone"


def rebuilt_lines(results: Sequence[Any]) -> list[str]:
    """The marts that were rebuilt because their columns changed, each with what changed."""
    return [
        f"{r.node.name} was {r.message}"
        for r in results
        if r.node.resource_type == "model" and r.adapter_response.get("code") == "REBUILT"
    ]


def tested_lines(code_is_good: bool, through: str) -> list[str]:
    """What tests left out, because an earlier build has found it good."""
    lines = ["without unit tests: the code is as it was when they passed"] if code_is_good else []
    if through:
        lines += [f"tests of large tables: of rows loaded after {through} (TESTS=all: of all)"]
    return lines


def freshness_line(results: Sequence[Any]) -> str:
    """How many sources are fresh, and which are not."""
    stale = [r.node.name for r in results if r.status not in GOOD]
    fresh = f"{len(results) - len(stale)} of {len(results)} sources are fresh"
    return f"{fresh}; not: {', '.join(stale)}" if stale else fresh


def failure_paragraphs(results: Sequence[Any]) -> list[list[str]]:
    """What failed, what that means and how to look at it; one paragraph each."""
    failed = [r for r in results if r.status not in GOOD and r.status != "skipped"]
    paragraphs = [_failure_lines(result) for result in failed[:PARAGRAPHS]]
    if len(failed) > PARAGRAPHS:
        paragraphs.append([f"... and {len(failed) - PARAGRAPHS} more: target/run_results.json"])
    return paragraphs


def _failure_lines(result: Any) -> list[str]:
    node = result.node
    title = "WARNING" if result.status == "warn" else "FAILED"
    lines = [
        f"{title}  {node.resource_type.replace('_', ' ')} {node.name} ({node.original_file_path})"
    ]
    said = [line.strip() for line in str(result.message or "").splitlines() if line.strip()]
    if node.description:
        said.insert(0, " ".join(node.description.split()))
    lines += [f"    {line}" for line in said[:SAID_LINES]]
    command = f"{environment_prefix()}dbt"
    if node.resource_type == "source":
        lines += [f"    again: {command} source freshness -s source:{node.source_name}.{node.name}"]
    elif node.resource_type == "test" and result.status != "error":
        lines += [f"    rows:  {command} test -s {node.name} --store-failures"]
        lines += [f"    query: {node.compiled_path}"] if node.compiled_path else []
    else:
        lines += [f"    again: {command} build -s {node.name}"]
    return lines


def closing_lines(target: Target, *, sample: bool, green: bool) -> list[str]:
    """Where things lie, and three commands worth trying next."""
    prefix = environment_prefix()
    question = "select * from {{ ref('orders_obt') }}"
    if not green:
        first = (f"{prefix}dbt retry", "run again what failed, and what was skipped because of it")
    elif sample:
        first = (
            "python scripts/sample_source.py sqlite:///shop.sqlite --events 20",
            f"let the shop do business; {prefix}make build then loads what changed",
        )
    else:
        first = (f"{prefix}make build SOURCE=...", "load what changed in the shop")
    commands = [
        ("make docs", "draw lineage and diagram, and open all pages at http://localhost:8080"),
        (f'{prefix}dbt show --limit 5 --inline "{question}"', "ask the widest mart"),
        first,
    ]
    lines = [
        f"Warehouse  {target.name}: {target.place}",
        "Open       target/site/index.html",
        "",
        "Next (dbt and python: after `. .venv/bin/activate`)",
    ]
    for command, purpose in commands:
        lines += [f"  {command}", f"      {purpose}"]
    return lines


def environment_prefix() -> str:
    """The variables that a command typed by hand needs to reach the same warehouse; no password."""
    names = ("TARGET", "DUCKDB_PATH")
    return "".join(f"{name}={quote(value)} " for name in names if (value := os.environ.get(name)))
