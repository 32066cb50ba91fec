"""What a build came to, as plain facts for the start page."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loader.options import Accepted
from pages.start import moment
from pipeline.dbt_runner import Dbt, Owner, Result
from pipeline.summary import Figure, failure_paragraphs
from pipeline.warehouse import Warehouse

# The start page's names for dbt's kinds of nodes, in its order.
KINDS = {
    "test": "Tests of rows",
    "unit_test": "Unit tests",
    "model": "Models",
    "snapshot": "Snapshots",
    "seed": "Seeds",
    "source": "Sources, freshness",
}


def last_load(warehouse: Warehouse, raw_schema: str) -> dict[str, Any] | None:
    """The last load, from the loader's audit; None when it cannot be read."""
    columns = [
        *("source", "started_at", "finished_at", "status", "issues"),
        *("rows_read", "rows_inserted", "rows_updated", "rows_deleted"),
    ]
    rows = warehouse.ask(
        f"select {', '.join(columns)} from {raw_schema}._load_runs order by started_at desc limit 1"
    )
    if not rows:
        return None
    load = dict(zip(columns, rows[0], strict=True))
    return load | {name: moment(load[name]) for name in ("started_at", "finished_at")}


def last_good_load(warehouse: Warehouse, raw_schema: str) -> str:
    """When the load that the warehouse holds began; empty where there is none, or nobody knows."""
    rows = warehouse.ask(
        f"select max(started_at) from {raw_schema}._load_runs where status = 'succeeded'"
    )
    return moment(rows[0][0]) if rows and rows[0][0] else ""


def accepted_of(accepted: Sequence[Accepted]) -> list[dict[str, str]]:
    """What the team accepts that the shop does not have."""
    return [
        {"column": found.column, "since": str(found.since), "because": found.because}
        for found in accepted
    ]


def outcomes_of(results: Sequence[Result], failed: Path | None = None) -> dict[str, Any]:
    """How the nodes and sources went: counts by kind, and what failed or warned.

    `failed` is the file of a build that failed, where that is another than the warehouse's.
    """
    counts: dict[str, Counter[str]] = {}
    for result in results:
        if kind := KINDS.get(result.kind):
            counts.setdefault(kind, Counter())[outcome_of(result)] += 1
    sources = sorted((r for r in results if r.kind == "source"), key=lambda result: result.name)
    return {
        "counts": {kind: dict(counts[kind]) for kind in KINDS.values() if kind in counts},
        "failures": failure_paragraphs(results, failed),
        "freshness": [
            {
                "name": source.name,
                "outcome": outcome_of(source),
                # dbt's way to say that no load has confirmed it.
                "loaded_at": "no load"
                if source.loaded_at and source.loaded_at.year == 1
                else moment(source.loaded_at),
            }
            for source in sources
        ],
    }


def outcome_of(result: Result) -> str:
    """One of the start page's four outcomes: good, warned, failed or skipped."""
    if result.is_good:
        return "good"
    return {"warn": "warned", "skipped": "skipped"}.get(result.status, "failed")


def owners_of(dbt: Dbt, figures: Sequence[Figure]) -> dict[str, Any]:
    """Which team owns which marts, with their rows where known, and what reads them."""
    rows = {figure.name: f"{figure.value:,.0f}" for figure in figures if figure.topic == "rows"}
    marts = dbt.marts()
    groups = [
        {
            "name": group.name,
            "description": group.description,
            "owner": contact(group.owner),
            "marts": [
                {
                    "id": mart.id,
                    "name": mart.name,
                    "grain": mart.description.partition(". ")[0].rstrip("."),
                    "rows": rows.get(mart.name, "unknown"),
                }
                for mart in marts
                if mart.group == group.name
            ],
        }
        for group in dbt.groups()
    ]
    names = {mart.id: mart.name for mart in marts}
    exposures = [
        {
            "label": exposure.label,
            "type": exposure.type,
            "maturity": exposure.maturity,
            "description": exposure.description,
            "owner": contact(exposure.owner),
            "reads": [(mart, names.get(mart, mart)) for mart in exposure.reads],
        }
        for exposure in dbt.exposures()
    ]
    return {"groups": groups, "exposures": exposures}


def contact(owner: Owner) -> dict[str, str]:
    """Name and address of an owner."""
    return {"name": owner.name, "email": owner.email}


def commit(project: Path) -> str:
    """The project's commit, with "+" behind it when files differ; empty without git."""
    git = ["git", "-C", str(project), "describe", "--always", "--dirty=+", "--abbrev=10"]
    try:
        done = subprocess.run(git, capture_output=True, text=True, check=False)
    except OSError:  # no git
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
