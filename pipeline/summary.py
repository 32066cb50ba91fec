"""What `make build` prints at its end: sizes, revenue, what failed, where the results are."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from shlex import quote
from typing import Any

from pages.files import site
from pipeline.changes import Changes
from pipeline.dbt_runner import Node, Result
from pipeline.expectations import Finding
from pipeline.findings import size
from pipeline.project import shown
from pipeline.warehouse import Warehouse

OPERATIONS = "models/marts/operations/"
PARAGRAPHS = 10  # failures that are described
MESSAGE_LINES = 12  # of dbt's message about one failure; the log has the rest

# One query for all figures, so that they are of one moment.
FIGURES = """
select 'product line' as topic, product_line as name, sum(revenue_amount) as figure
from {marts}.sales_daily group by product_line
union all
select 'territory' as topic, territory as name, sum(revenue_amount) as figure
from {marts}.sales_daily group by territory
union all
select
    'data through' as topic,
    cast(max(data_through_date) as varchar(10)) as name,
    0 as figure
from {marts}.product_performance
union all
select
    'accepted' as topic,
    test_name || ', ' || row_key || ': ' || reason || ' (' || accepted_by || ', until '
    || cast(accepted_until as varchar(10)) || ')' as name,
    0 as figure
from {seeds}.accepted_rows
"""
ROWS = """union all
select 'rows' as topic, '{name}' as name, count(*) as figure from {marts}.{counted}
"""
# A view with the rows of a table, which tests prove. To count those of the view joins all of them.
SAME_ROWS = {"orders_obt": "fact_orders"}


def figures_query(
    marts: Iterable[str], schemas: Mapping[str, str], *, is_proven: bool = False
) -> str:
    """The query for everything that the summary shows; `schemas` are those of marts and seeds.

    `is_proven`: all tests have passed.
    """
    same = SAME_ROWS if is_proven else {}
    return FIGURES.format_map(schemas) + "".join(
        ROWS.format(name=name, counted=same.get(name, name), **schemas) for name in marts
    )


@dataclass(frozen=True)
class Figure:
    """One number of the summary: rows of a mart, or revenue of a product line or territory.

    For the topic "data through" the name is the day, for "accepted" all about a bad row that was
    accepted.
    """

    topic: str
    name: str
    value: Decimal


def figures_of(rows: Iterable[Sequence[Any]]) -> list[Figure]:
    """The rows of the answer to `figures_query`, the largest number first."""
    figures = [
        Figure(topic, name or "(none)", Decimal(figure or 0)) for topic, name, figure in rows
    ]
    return sorted(figures, key=lambda figure: (figure.topic, -figure.value, figure.name))


def figure_lines(figures: Sequence[Figure], results: Sequence[Result]) -> list[str]:
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
    old = sum(r.kind == "model" and not r.is_good for r in results)
    if old:
        lines += [
            "",
            f"  {old} models were not rebuilt: their figures come from an earlier build.",
        ]
    return lines


def accepted_rows(figures: Sequence[Figure]) -> list[str]:
    """The entries of seeds/accepted_rows.csv, one line each."""
    return [figure.name for figure in figures if figure.topic == "accepted"]


def accepted_lines(rows: Sequence[str]) -> list[str]:
    """The bad rows that tests leave out."""
    return ["ACCEPTED  rows that tests leave out", *(f"    {row}" for row in rows)] if rows else []


def unmet_lines(found: Sequence[Finding]) -> list[str]:
    """What is not as loader.yml expects."""
    lines = [f"    {finding.message}" for finding in found]
    return ["WARNING  not as expected", *lines] if lines else []


def _column(rows: Sequence[tuple[str, str]], height: int) -> list[str]:
    names = max(len(name) for name, _ in rows)
    values = max(len(value) for _, value in rows)
    lines = [f"{name:<{names}}  {value:>{values}}" for name, value in rows]
    return lines + [" " * (names + 2 + values)] * (height - len(rows))


def count_line(results: Sequence[Result]) -> str:
    """How many nodes of each kind were built, and how the tests went."""
    kinds = ("model", "seed", "snapshot")
    built = Counter(r.kind for r in results if r.is_good)
    parts = [f"{n} {kind}{'s' if n != 1 else ''}" for kind in kinds if (n := built[kind])]
    tests = [r for r in results if r.kind in ("test", "unit_test")]
    passed = sum(r.is_good for r in tests)
    text = f"{', '.join(parts)}; {passed} of {len(tests)} tests passed"
    others = Counter(r.status for r in results if not r.is_good)
    return text + "".join(f", {n} {status}" for status, n in sorted(others.items()))


def written_line(results: Sequence[Result]) -> str:
    """How many rows of the marts a build wrote; empty where it rebuilt or skipped a mart."""
    # What is made of the runs themselves has other rows after each.
    shop = [result for result in results if not result.path.startswith(OPERATIONS)]
    counts = [result.rows_written for result in shop if result.is_incremental]
    written = [count for count in counts if count is not None]
    if len(written) < len(counts):
        return ""
    rows = sum(written)
    if not rows:
        return "nothing has changed: no row of any mart was written"
    return f"{rows:,} rows of the marts were changed, new or gone"


def rebuilt_lines(results: Sequence[Result]) -> list[str]:
    """The marts that were rebuilt because their columns changed, each with what changed."""
    return [f"{result.name} was {result.message}" for result in results if result.was_rebuilt]


def left_out_lines(results: Sequence[Result], nodes: Sequence[Node], changes: Changes) -> list[str]:
    """What a build did not run or test, because an earlier one did."""
    lines = []
    if changes.since:
        ran = Counter(result.kind for result in results)
        known = Counter(node.kind for node in nodes)
        tests = known["test"] + known["unit_test"]
        lines.append(
            f"{ran['model'] + ran['snapshot']} of {known['model'] + known['snapshot']} models and"
            f" snapshots and {ran['test']} of {tests} tests hang on what has changed; the others"
            f" are as the green build of {changes.since.ended} left them (BUILD=all: all)"
        )
    else:
        lines.append(f"everything was built: {changes.why}")
    if changes.same_code and not changes.since:
        lines.append("without unit tests: the code is as it was when they passed")
    if changes.tested_through:
        through = changes.tested_through
        lines.append(f"tests of large tables: of rows loaded after {through} (TESTS=all: of all)")
    return lines


def nothing_lines(changes: Changes) -> list[str]:
    """What a build says that has nothing to do."""
    assert changes.since
    return [
        "Nothing has changed in the shop, the code, the settings and the day since the green build"
        f" of {changes.since.ended}: nothing was built. BUILD=all builds everything all the same."
    ]


def freshness_line(sources: Sequence[Result]) -> str:
    """How many sources are fresh, and which are not."""
    stale = [source.name for source in sources if not source.is_good]
    fresh = f"{len(sources) - len(stale)} of {len(sources)} sources are fresh"
    return f"{fresh}; not: {', '.join(stale)}" if stale else fresh


def failure_paragraphs(
    results: Sequence[Result], file: Path | None = None, *, beside: bool = False
) -> list[list[str]]:
    """For each failure a paragraph: what failed, what that means, and how to look at it.

    `file` is that of a build that failed, where it is another than the warehouse's. `beside`: it
    was built in a schema that dbt by itself does not see.
    """
    failed = [r for r in results if not r.is_good and r.status != "skipped"]
    failed.sort(key=lambda result: result.status == "warn")
    paragraphs = [_failure_lines(result, file, beside) for result in failed[:PARAGRAPHS]]
    if len(failed) > PARAGRAPHS:
        paragraphs.append([_failure_title(result) for result in failed[PARAGRAPHS:]])
    return paragraphs


def _failure_title(result: Result) -> str:
    title = "WARNING" if result.status == "warn" else "FAILED"
    found = f": {size(result)}" if result.found else ""
    return f"{title}  {result.kind.replace('_', ' ')} {result.name}{found} ({result.path})"


def _failure_lines(result: Result, file: Path | None, beside: bool) -> list[str]:
    lines = [_failure_title(result)]
    message = [line.strip() for line in result.message.splitlines() if line.strip()]
    if result.found and result.found.rows:
        more = result.found.count - len(result.found.rows)
        message = [*result.found.rows, *([f"... and {more:,} more"] if more > 0 else [])]
    if result.description:
        message.insert(0, result.description)
    lines += [f"    {line}" for line in message[:MESSAGE_LINES]]
    command = f"{environment_prefix(file)}dbt"
    if result.kind == "source":
        lines += [f"    again: {command} source freshness -s {result.selector}"]
    elif result.kind == "test" and result.status != "error":
        if not beside:
            lines += [f"    rows:  {command} test -s {result.selector} --store-failures"]
        lines += [f"    query: {result.compiled_path}"] if result.compiled_path else []
    elif beside:
        lines += [f"    again: {environment_prefix()}make build"]
    else:
        lines += [f"    again: {command} build -s {result.selector}"]
    return lines


def closing_lines(
    warehouse: Warehouse, *, sample: bool, green: bool, failed: Path | None = None
) -> list[str]:
    """Where the results are, and three commands to try next.

    `failed` is the file of a build that failed, where that is another than the warehouse's.
    """
    prefix = environment_prefix()
    question = "select * from {{ ref('orders_obt') }}"
    if not green:
        first = (
            f"{environment_prefix(failed)}dbt retry",
            "run again what failed, and what was skipped because of it",
        )
        if warehouse.works_beside:
            first = (f"{prefix}make build", "build again, and publish it if all is green")
    elif sample:
        first = (
            "python scripts/sample_source.py sqlite:///shop.sqlite --events 20",
            f"let the shop do business; {prefix}make build then loads what changed",
        )
    else:
        first = (f"{prefix}make build SOURCE=...", "load what changed in the shop")
    commands = [
        (
            f"{prefix}make docs",
            "draw lineage and diagram, and open all pages at http://localhost:8080",
        ),
        (f'{prefix}dbt show --limit 5 --inline "{question}"', "ask the widest mart"),
        first,
    ]
    lines = [
        f"Warehouse  {warehouse.label}{', as it was before this build' if failed else ''}",
        *([f"Failed     {shown(failed)}, until the next build"] if failed else []),
        f"Open       {shown(site(warehouse.made) / 'index.html')}",
        "",
        "Next (dbt and python: after `. .venv/bin/activate`)",
    ]
    for command, purpose in commands:
        lines += [f"  {command}", f"      {purpose}"]
    return lines


def environment_prefix(file: Path | None = None) -> str:
    """The variables with which a command reaches the same warehouse, without a password.

    `file` is the DuckDB file to reach, where it is another one.
    """
    values = {name: os.environ.get(name) for name in ("TARGET", "DUCKDB_PATH")}
    if file:
        values["DUCKDB_PATH"] = shown(file)
    return "".join(f"{name}={quote(value)} " for name, value in values.items() if value)


def show(paragraphs: Sequence[Sequence[str]]) -> None:
    """Print paragraphs."""
    print("\n" + "\n\n".join("\n".join(lines) for lines in paragraphs if lines))
