"""The start page: how fresh the warehouse is, how the last build went, who owns what, and links.

A build notes in `target/build.json` what it came to, and writes the page of it. So the page can be
written again without the warehouse, when a page that it links to has come: dbt's own artifacts
would by then be those of whatever dbt command ran last.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pages.files import filled, replace_file
from pipeline.summary import GOOD, Figure, failure_paragraphs
from pipeline.warehouse import Target

# What a person can open, in this order: file, title, what it shows, and the command that makes it.
PAGES = (
    ("docs.html", "Tables and columns", "what every one means; where it comes from", "make build"),
    ("report.html", "Report", "sales, customers and receivables in charts", "make build"),
    ("lineage.html", "Lineage", "the way of each column from the shop to the marts", "make docs"),
    ("diagram.html", "Diagram", "the marts and which key leads where", "make docs"),
)
KINDS = {
    "test": "Tests of rows",
    "unit_test": "Unit tests",
    "model": "Models",
    "snapshot": "Snapshots",
    "seed": "Seeds",
    "source": "Sources, freshness",
}
OUTCOMES = ("good", "warned", "failed", "skipped")


def note_build(
    target: Path, *, green: bool, began: datetime, warehouse: Target, facts: Mapping[str, Any]
) -> None:
    """Remember what a build came to, and write the start page."""
    ended = datetime.now(UTC)
    note = {
        "green": green,
        "error": "",
        "began_at": moment(began),
        "seconds": round((ended - began).total_seconds(), 1),
        "warehouse": f"{warehouse.name}: {warehouse.place}",
        "commit": commit(target.parent),
        **facts,
    }
    replace_file(target / "build.json", json.dumps(note, indent=1))
    write_start_page(target)


def note_failure(target: Path, error: str) -> None:
    """Let the start page say that a build ended early, above what the one before it came to."""
    file = target / "build.json"
    note = json.loads(file.read_text("utf-8")) if file.is_file() else {"warehouse": ""}
    note |= {"green": False, "error": error, "failed_at": moment(datetime.now(UTC))}
    replace_file(file, json.dumps(note, indent=1))
    write_start_page(target)


def write_start_page(target: Path) -> None:
    """Write the page of what the last build noted, with links to the pages that are there."""
    site = target / "site"
    note = json.loads((target / "build.json").read_text("utf-8"))
    links = []
    for file, title, shows, command in PAGES:
        made = site / file
        drawn = moment(datetime.fromtimestamp(made.stat().st_mtime, UTC)) if made.is_file() else ""
        links.append((file, title, shows, command, drawn))
    page = filled(Path(__file__).with_name("start.html"), note=note, links=links, outcomes=OUTCOMES)
    replace_file(site / "index.html", page)


def load_of(target: Target, schema: str) -> dict[str, Any] | None:
    """The last load, from the loader's own account in a schema; None when it cannot be read."""
    columns = [
        *("source", "started_at", "finished_at", "status", "issues"),
        *("rows_read", "rows_inserted", "rows_updated", "rows_deleted"),
    ]
    rows = target.ask(
        f"select {', '.join(columns)} from {schema}._load_runs order by started_at desc limit 1"
    )
    if not rows:
        return None
    load = dict(zip(columns, rows[0], strict=True))
    return load | {name: moment(load[name]) for name in ("started_at", "finished_at")}


def outcomes_of(results: Sequence[Any]) -> dict[str, Any]:
    """How dbt's results of nodes and sources went: by kind, and what failed or warned."""
    counts: dict[str, Counter[str]] = {}
    for result in results:
        if kind := KINDS.get(str(result.node.resource_type)):
            counts.setdefault(kind, Counter())[outcome_of(str(result.status))] += 1
    return {
        "counts": {kind: dict(counts[kind]) for kind in KINDS.values() if kind in counts},
        "failures": failure_paragraphs(results),
        "freshness": [
            {
                "name": result.node.name,
                "outcome": outcome_of(str(result.status)),
                "loaded_at": moment(getattr(result, "max_loaded_at", None)),
            }
            for result in sorted(results, key=lambda result: str(result.node.name))
            if result.node.resource_type == "source"
        ],
    }


def outcome_of(status: str) -> str:
    """One of OUTCOMES for a status of dbt's."""
    if status in GOOD:
        return "good"
    return {"warn": "warned", "skipped": "skipped"}.get(status, "failed")


def owners_of(manifest: Any, figures: Sequence[Figure]) -> dict[str, Any]:
    """Who owns which marts, with their rows where they are known, and who reads them for what."""
    rows = {figure.name: f"{figure.value:,.0f}" for figure in figures if figure.topic == "rows"}
    models = [
        node
        for node in manifest.nodes.values()
        if node.resource_type == "model" and node.access == "public"
    ]
    groups = [
        {
            "name": group.name,
            "description": group.description or "",
            "owner": owner_of(group),
            "marts": [
                {
                    "id": model.unique_id,
                    "name": model.name,
                    "grain": " ".join(model.description.split()).partition(". ")[0].rstrip("."),
                    "rows": rows.get(model.name, "unknown"),
                }
                for model in sorted(models, key=lambda model: str(model.name))
                if model.group == group.name
            ],
        }
        for group in sorted(manifest.groups.values(), key=lambda group: str(group.name))
    ]
    names = {model.unique_id: model.name for model in models}
    exposures = [
        {
            "label": exposure.label or exposure.name,
            "type": str(exposure.type),
            "maturity": str(exposure.maturity or ""),
            "description": " ".join(exposure.description.split()),
            "owner": owner_of(exposure),
            "reads": [(i, names.get(i, i)) for i in sorted(exposure.depends_on.nodes)],
        }
        for exposure in sorted(manifest.exposures.values(), key=lambda found: str(found.name))
    ]
    return {"groups": groups, "exposures": exposures}


def owner_of(thing: Any) -> dict[str, str]:
    """Name and address of who answers for a group or an exposure."""
    return {"name": thing.owner.name or "", "email": thing.owner.email or ""}


def moment(time: datetime | None) -> str:
    """A time (UTC, also where it does not say so) for people: 2026-11-20 16:26 UTC."""
    if time is None:
        return "unknown"
    utc = time.astimezone(UTC) if time.tzinfo else time
    return f"{utc:%Y-%m-%d %H:%M} UTC"


def commit(project: Path) -> str:
    """The commit that the project is at, "+" after it when files differ; empty without git."""
    git = ["git", "-C", str(project), "describe", "--always", "--dirty=+", "--abbrev=10"]
    try:
        done = subprocess.run(git, capture_output=True, text=True, check=False)
    except OSError:  # no git
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
