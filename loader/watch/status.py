"""How a watch is: its figures, and how a person reads them."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ..result import LoadResult
from .changes import Heard

# Seconds without a word after which a watcher is taken for dead.
SILENT = 30.0


@dataclass
class Figures:
    """What a watcher counts; times are UTC."""

    source: str
    target: str
    mode: str
    reason: str
    running: bool = True
    who: str = ""
    position: str = ""
    bytes_behind: int | None = None
    bytes_kept: int | None = None
    batches: int = 0
    keys: int = 0
    rows: int = 0
    last_batch: str = ""
    last_batch_seconds: float = 0.0
    last_audit: str = ""
    audit_faults: list[str] = field(default_factory=list)
    last_error: str = ""
    last_error_at: str = ""
    marts: dict[str, Any] = field(default_factory=dict)

    def batch(self, result: LoadResult, heard: Heard | None, seconds: float) -> None:
        """Something was published."""
        self.batches += 1
        self.keys += heard.size if heard else 0
        changes = [entry.changes for entry in result.tables]
        self.rows += sum(c.inserted + c.updated + c.deleted for c in changes)
        self.last_batch, self.last_batch_seconds = now(), round(seconds, 3)

    def audited(self, faults: list[str]) -> None:
        """All tables were compared."""
        self.last_audit, self.audit_faults = now(), faults

    def failed(self, error: str) -> None:
        """Something did not work."""
        self.last_error, self.last_error_at = error, now()

    def as_json(self, pending: Heard, rest: Sequence[Heard]) -> dict[str, Any]:
        """All figures; the lag is how long the oldest change waits that is not published."""
        waiting = [heard.at for heard in (pending, *rest) if heard.says_something and heard.at]
        lag = max(0.0, round(time.time() - min(waiting), 1)) if waiting else 0.0
        return {"at": now(), "process": os.getpid(), **vars(self), "lag_seconds": lag}


def now() -> str:
    """The time, in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def seconds_since(moment: str) -> float:
    """Since a time that `now` gave."""
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()


def is_alive(status: dict[str, Any]) -> bool:
    """Whether the watcher said something a moment ago."""
    return bool(status["running"]) and seconds_since(status["at"]) < SILENT


def shown(status: dict[str, Any]) -> str:
    """The figures in lines for a person."""
    ago = seconds_since(status["at"])
    if is_alive(status):
        state = f"running: {status['who']}"
    elif status["running"]:
        state = f"not running: its last word is {ago:,.0f} s old, so it was killed"
    else:
        state = f"stopped {ago:,.0f} s ago"
    lag = f"{status['lag_seconds']:.1f} s"
    if status["bytes_behind"] is not None:
        lag += f", {status['bytes_behind']:,} bytes of the log"
    lines = [
        ("watch", state),
        ("from, to", f"{status['source']} -> {status['target']}"),
        ("mode", f"{status['mode']} ({status['reason']})"),
        ("position", status["position"] or "none"),
        ("lag", lag),
    ]
    if status["bytes_kept"] is not None:
        lines.append(("kept", f"{status['bytes_kept']:,} bytes of log at the source, for this"))
    lines += [
        ("batches", f"{status['batches']:,} with {status['keys']:,} keys, {status['rows']:,} rows"),
        ("last batch", _at(status["last_batch"], f" in {status['last_batch_seconds']} s")),
        ("last audit", _at(status["last_audit"], "")),
    ]
    if status["audit_faults"]:
        lines.append(("mended", ", ".join(status["audit_faults"])))
    lines.append(("last error", _at(status["last_error_at"], f": {status['last_error']}")))
    lines += _of_marts(status.get("marts") or {})
    return "\n".join(f"{name:<11} {text}" for name, text in lines)


def _of_marts(marts: dict[str, Any]) -> list[tuple[str, str]]:
    if not marts:
        return []
    slow = marts["slow"]
    cost = ", ".join(f"{name} {seconds} s" for name, seconds in slow["seconds_by_model"].items())
    lines = [
        ("marts", marts["state"]),
        ("through", _at(marts["through"], ", all commits until then")),
        ("built", _at(marts["built_at"], f", {marts['models']} models in {marts['seconds']} s")),
        ("tested", _at(marts["tested_at"], f", {marts['tests']} tests")),
        ("slow marts", _at(slow["built_at"], f", every {slow['every']:g} s: {cost or 'no model'}")),
    ]
    failed = [f"{found['test']}: {found['count']:,} rows" for found in marts["failed"]]
    return [*lines, ("failed", "; ".join(failed) or "no test")]


def _at(moment: str, more: str) -> str:
    return f"{moment[:19].replace('T', ' ')} UTC{more}" if moment else "none"
