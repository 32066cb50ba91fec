"""The start page: how fresh the warehouse is, how the last build went, who owns what, and links.

A build stores its facts in `build.json`, beside the pages of its warehouse, and writes the page
from them. When a linked page is drawn later, the start page can be written again without the
warehouse.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from pages.files import replace_file, site, write_page

# What a person can open, in this order: file, title, what it shows, and the command that makes it.
PAGES = (
    ("incidents.html", "Incidents", "what is wrong, since when, and what to do", "every run"),
    ("docs.html", "Tables and columns", "what each means and where it comes from", "make build"),
    ("report.html", "Report", "sales, customers and receivables in charts", "make build"),
    ("lineage.html", "Lineage", "the way of each column from the shop to the marts", "make docs"),
    ("diagram.html", "Diagram", "the marts and which key leads where", "make docs"),
)
OUTCOMES = ("good", "warned", "failed", "skipped")


# Where the report says that it is not the newest; see page.html.jinja.
STANDING = re.compile("(<!--standing-->).*(<!--/standing-->)")


def note_build(target: Path, began: datetime, facts: Mapping[str, Any]) -> None:
    """Store what a build came to, and write the start page. Raises OSError."""
    ended = datetime.now(UTC)
    note = {
        "error": "",
        "began_at": moment(began),
        "seconds": round((ended - began).total_seconds(), 1),
        **facts,
    }
    _store(target, note, ended)


def note_check(
    target: Path,
    load: Mapping[str, Any] | None,
    unmet: Mapping[str, str],
    wanted: Callable[[str], object],
) -> list[str]:
    """Let the start page say that there was nothing to build after a load. Raises OSError.

    `unmet` and `wanted` as in `mark_unmet`. Returns the bad rows that tests leave out.
    """
    note = read_note(target)
    confirmed = load["finished_at"] if load else "unknown"
    for source in note["freshness"]:
        source |= {"outcome": "good", "loaded_at": confirmed}
    mark_unmet(note, unmet, wanted)
    now = datetime.now(UTC)
    _store(
        target, note | {"load": load, "checked_at": moment(now), "green": True, "error": ""}, now
    )
    accepted: list[str] = note["accepted_rows"]
    return accepted


def mark_unmet(
    note: dict[str, Any], unmet: Mapping[str, str], wanted: Callable[[str], object]
) -> None:
    """Let tables that are not as expected be warned of.

    `unmet` says why, by table, and `wanted` what is expected of a table.
    """
    note["unmet"] = list(unmet.values())
    for source in note["freshness"]:
        source["expected"] = str(wanted(source["name"]))
        if source["name"] in unmet and source["outcome"] == "good":
            source["outcome"] = "warned"


def are_pages_of(target: Path, build: str) -> bool:
    """Whether all pages are there, and of a build: that whose end `build` is."""
    made = [(site(target) / file).is_file() for file, *_, command in PAGES if "build" in command]
    try:
        return all(made) and read_note(target).get("build") == build
    except (OSError, ValueError):
        return False


def note_failure(target: Path, error: str, warehouse: str, gone: Collection[str] = ()) -> None:
    """Let the start page say that a build ended early, above the facts of the build before it.

    `gone`: tables that the shop has no longer. They are not fresh, whenever they were loaded.
    """
    note = read_note(target) or {"warehouse": ""}
    for source in note.get("freshness", ()):
        if source["name"] in gone:
            source["outcome"] = "failed"
            source["loaded_at"] = f"{source['loaded_at']}; the shop no longer has it"
    now = datetime.now(UTC)
    note |= {"green": False, "error": error, "failed_at": moment(now), "failed_of": warehouse}
    _store(target, note, now)


def read_note(target: Path) -> dict[str, Any]:
    """What is stored of the last build, or nothing. Raises OSError, ValueError."""
    file = target / "build.json"
    found: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return found


def last_warnings(target: Path) -> list[str]:
    """What the last build that came to its end warned of; nothing where it is not known."""
    try:
        found: list[str] = read_note(target)["warnings"]
    except (OSError, ValueError, KeyError):
        return []
    return found


def _store(target: Path, note: dict[str, Any], now: datetime) -> None:
    """Write the note and the page; until a build is green, also since when none was."""
    before = read_note(target)
    if note["green"]:
        note |= {"good_at": moment(now), "failed_since": ""}
    else:
        since = before.get("failed_since") or moment(now)
        note |= {"good_at": before.get("good_at", ""), "failed_since": since}
    replace_file(target / "build.json", json.dumps(note, indent=1))
    write_start_page(target)
    report = site(target) / "report.html"
    if not report.is_file():
        return
    notice = ""
    if not note["green"]:
        why = f": {note['error']}" if note["error"] else ", as the start page says"
        text = f"This page is not the newest: builds fail since {note['failed_since']}{why}"
        notice = f'<div class="notice" role="note"><p>{escape(text)}</p></div>'
    before_it = report.read_text("utf-8")
    page = STANDING.sub(lambda found: found[1] + notice + found[2], before_it)
    if page != before_it:
        replace_file(report, page)


def write_start_page(target: Path) -> None:
    """Write the page from the facts of the last build, with links to the pages that exist."""
    note = read_note(target)
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
