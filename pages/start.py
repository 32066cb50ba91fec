"""The start page: how fresh the warehouse is, how the last build went, who owns what, and links.

A build stores its facts in `target/build.json` and writes the page from them. When a linked page
is drawn later, the start page can be written again without the warehouse.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pages.files import replace_file, site, write_page

# What a person can open, in this order: file, title, what it shows, and the command that makes it.
PAGES = (
    ("docs.html", "Tables and columns", "what each means and where it comes from", "make build"),
    ("report.html", "Report", "sales, customers and receivables in charts", "make build"),
    ("lineage.html", "Lineage", "the way of each column from the shop to the marts", "make docs"),
    ("diagram.html", "Diagram", "the marts and which key leads where", "make docs"),
)
OUTCOMES = ("good", "warned", "failed", "skipped")


def note_build(target: Path, began: datetime, facts: Mapping[str, Any]) -> None:
    """Store what a build came to, and write the start page. Raises OSError."""
    ended = datetime.now(UTC)
    note = {
        "error": "",
        "began_at": moment(began),
        "seconds": round((ended - began).total_seconds(), 1),
        **facts,
    }
    _store(target, note)


def note_failure(target: Path, error: str) -> None:
    """Let the start page say that a build ended early, above the facts of the build before it."""
    file = target / "build.json"
    note = json.loads(file.read_text("utf-8")) if file.is_file() else {"warehouse": ""}
    note |= {"green": False, "error": error, "failed_at": moment(datetime.now(UTC))}
    _store(target, note)


def _store(target: Path, note: Mapping[str, Any]) -> None:
    replace_file(target / "build.json", json.dumps(note, indent=1))
    write_start_page(target)


def write_start_page(target: Path) -> None:
    """Write the page from the facts of the last build, with links to the pages that exist."""
    note = json.loads((target / "build.json").read_text("utf-8"))
    links = []
    for file, title, shows, command in PAGES:
        made = site(target) / file
        drawn = moment(datetime.fromtimestamp(made.stat().st_mtime, UTC)) if made.is_file() else ""
        links.append((file, title, shows, command, drawn))
    template = Path(__file__).with_name("start.html")
    write_page(site(target) / "index.html", template, note=note, links=links, outcomes=OUTCOMES)


def moment(time: datetime | None) -> str:
    """A time for people: 2026-11-20 16:26 UTC. A time without a zone is UTC."""
    if time is None:
        return "unknown"
    utc = time.astimezone(UTC) if time.tzinfo else time
    return f"{utc:%Y-%m-%d %H:%M} UTC"
