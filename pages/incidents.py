"""The incident page: what is wrong since when, whose it is, what readers see, and what to do."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pages.files import replace_file, site, write_page
from pages.start import moment, read_note

RUNBOOK = Path(__file__).resolve().parents[1] / "docs" / "runbook.md"
SHOWN_AFTER = 20  # incidents that are over, the newest first
ALL = "all marts"
RED = ("failed", "test failed")  # kinds that keep a build from being published


def write_incident_page(target: Path, readers_see: str) -> None:
    """Write incidents.html and incidents.json into the site. Raises OSError, ValueError.

    `readers_see`: what readers of the marts see as long as a build is red.
    """
    state = json.loads((target / "incidents.json").read_text("utf-8"))
    facts = incident_facts(state, read_note(target), readers_see, paragraphs())
    replace_file(site(target) / "incidents.json", json.dumps(facts, indent=1))
    template = Path(__file__).with_name("incidents.html")
    write_page(site(target) / "incidents.html", template, facts=facts)


def incident_facts(
    state: dict[str, Any],
    note: dict[str, Any],
    readers_see: str,
    runbook: dict[str, dict[str, str]],
) -> dict[str, Any]:
    """What the page shows, also for programs. `note` is that of the last build, which may be {}."""
    newest = sorted(state["incidents"], key=lambda i: i["opened_at"], reverse=True)
    open_ = sorted((i for i in newest if not i["closed_at"]), key=lambda i: i["kind"] not in RED)
    over = sorted((i for i in newest if i["closed_at"]), key=lambda i: i["closed_at"], reverse=True)
    good_at = note.get("good_at") or "not known"
    return {
        "at": spoken(state["at"]),
        "warehouse": note.get("warehouse") or note.get("failed_of") or "not known",
        "last_good_run": good_at,
        "data_through": note.get("data_through", "not known"),
        "open": [shown(i, note, readers_see, good_at, runbook) for i in open_],
        "over": [
            {
                "kind": i["kind"],
                "subject": i["subject"],
                "since": spoken(i["opened_at"]),
                "until": spoken(i["closed_at"]),
            }
            for i in over[:SHOWN_AFTER]
        ],
        "channels": [{"name": name, "failed": why} for name, why in state["channels"].items()],
        "not_stored": state["not_stored"],
    }


def shown(
    incident: dict[str, Any],
    note: dict[str, Any],
    readers_see: str,
    good_at: str,
    runbook: dict[str, dict[str, str]],
) -> dict[str, Any]:
    """One open incident with all that is known around it."""
    kind, subject, marts = incident["kind"], incident["subject"], list(incident["marts"])
    groups = note.get("groups", [])
    # Without a load or without dbt no mart is newer than the last green build.
    is_of_all = kind == "failed" and not marts
    names = [mart["name"] for group in groups for mart in group["marts"]]
    below = names if is_of_all else marts
    owners = {
        group["owner"]["name"]: group["owner"]["email"]
        for group in groups
        if any(mart["name"] in below for mart in group["marts"])
    }
    exposures = [
        {"label": e["label"], "type": e["type"], "owner": e["owner"]}
        for e in note.get("exposures", [])
        if any(name in below for _, name in e["reads"])
    ]
    is_red = kind in RED
    see = f"{readers_see} It ended {good_at}." if is_red else f"Marts of the last run, {good_at}."
    return {
        "kind": kind,
        "subject": subject,
        "since": spoken(incident["opened_at"]),
        "since_iso": incident["opened_at"],
        "told": spoken(incident["told_at"]) if incident["told_at"] else "",
        "message": incident["message"],
        "owners": [{"name": name, "email": email} for name, email in owners.items()],
        "marts": [ALL] if is_of_all else marts,
        "exposures": exposures,
        "readers_see": f"{see} Data through {note.get('data_through', 'not known')}.",
        "what_to_do": runbook.get(f"{kind}: {subject.split()[0]}")
        or runbook.get(f"{kind}: {subject}")
        or runbook.get(kind),
    }


def paragraphs(runbook: Path = RUNBOOK) -> dict[str, dict[str, str]]:
    """The text and commands below each heading of the runbook, which is a kind of incident."""
    try:
        text = runbook.read_text("utf-8")
    except OSError:
        return {}
    _, *parts = re.split(r"^## ", text, flags=re.MULTILINE)
    found = {}
    for part in parts:
        heading, _, body = part.partition("\n")
        commands = "".join(re.findall(r"^```sh\n(.*?)^```$", body, re.MULTILINE | re.DOTALL))
        text = re.sub(r"^```sh\n.*?^```$", "", body, flags=re.MULTILINE | re.DOTALL)
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", "\\1", text)
        found[heading.strip()] = {"text": " ".join(text.split()), "commands": commands.strip()}
    return found


def spoken(iso: str) -> str:
    """A time in ISO 8601 for people."""
    return moment(datetime.fromisoformat(iso).astimezone(UTC))
