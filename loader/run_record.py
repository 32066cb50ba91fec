"""One run of any command, and the folder beside a DuckDB file in which it waits for the tables."""

import json
import os
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .result import LoadResult

RUNNING, SUCCEEDED, FAILED, KILLED = "running", "succeeded", "failed", "killed"
INTERRUPTED = "interrupted"
GONE = "its process was gone before it said how it ended"
# These have a lock of their own, and leave that of the warehouse to others between two batches.
WATCHES = ("make watch", "python -m loader watch")


@dataclass(frozen=True)
class NodeRun:
    """What became of one model, test, snapshot, seed or source in a run."""

    name: str
    kind: str
    outcome: str
    seconds: float = 0.0
    rows: int | None = None
    message: str = ""
    # Of a source: when a load confirmed it last.
    loaded_at: datetime | None = None


@dataclass
class RunRecord:
    """One run. Times are UTC, without a zone; `seconds` are of a clock that nobody sets."""

    run_id: str
    command: str
    code_version: str
    host: str
    process: int
    started_at: datetime
    ended_at: datetime | None = None
    seconds: float | None = None
    outcome: str = RUNNING
    error: str = ""
    load_batch_id: str = ""
    row_count: int | None = None
    test_count: int | None = None
    nodes: list[NodeRun] = field(default_factory=list)

    @property
    def who(self) -> str:
        """The run for people."""
        began = f"{self.started_at:%d %b %H:%M} UTC"
        return f"{self.command} (since {began}, process {self.process} on {self.host})"

    @property
    def process_is_gone(self) -> bool:
        """Whether it was a process of this machine, which has none of that number now."""
        try:
            if self.host == socket.gethostname():
                os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        except OSError:  # another user's
            return False
        return False

    def of_load(self, result: LoadResult) -> None:
        """Take over what a load did."""
        self.load_batch_id = result.batch_id
        changes = [entry.changes for entry in result.tables]
        self.row_count = sum(c.inserted + c.updated + c.deleted for c in changes)

    def add(self, nodes: Sequence[NodeRun]) -> None:
        """Add what became of nodes."""
        self.nodes += nodes
        self.test_count = sum(node.kind == "test" for node in self.nodes)


def now() -> datetime:
    """The time, UTC, without a zone."""
    return datetime.now(UTC).replace(tzinfo=None)


def code_version(folder: Path) -> str:
    """The commit of the code in a folder, with "+" behind it when files differ; empty without."""
    git = ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--abbrev=10"]
    with suppress(OSError):  # no git
        done = subprocess.run(git, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""
    return ""


def file_of(folder: Path, run: RunRecord) -> Path:
    """Where a run is in the folder."""
    return folder / f"{run.run_id}.json"


def keep(folder: Path, run: RunRecord) -> None:
    """Store a run in the folder, complete or not at all."""
    folder.mkdir(exist_ok=True)
    new = folder / f"{run.run_id}.new"
    new.write_text(json.dumps(asdict(run), default=str), encoding="utf-8")
    new.replace(file_of(folder, run))


def waiting(folder: Path | None) -> list[RunRecord]:
    """The runs in the folder; of other versions of this code, what is known here."""
    found: list[RunRecord] = []
    for file in sorted(folder.glob("*.json")) if folder else ():
        with suppress(OSError, ValueError, TypeError, KeyError):
            found.append(_restored(json.loads(file.read_text(encoding="utf-8"))))
    return found


def _restored(values: dict[str, Any]) -> RunRecord:
    values = {name: value for name, value in values.items() if name in RunRecord.__annotations__}
    for name in ("started_at", "ended_at"):
        values[name] = datetime.fromisoformat(values[name]) if values.get(name) else None
    nodes = []
    for node in values.pop("nodes", []):
        at = node.get("loaded_at")
        nodes.append(NodeRun(**{**node, "loaded_at": datetime.fromisoformat(at) if at else None}))
    return RunRecord(**values, nodes=nodes)
