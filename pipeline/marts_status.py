"""What the status of a watch says of marts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Told:
    """What the status says of marts; times are UTC, seconds wall time."""

    state: str = "waits for a complete build"
    through: str = ""
    built_at: str = ""
    seconds: float = 0.0
    models: int = 0
    tested_at: str = ""
    tests: int = 0
    failed: list[dict[str, Any]] = field(default_factory=list)
    # Whether all marts are of the last batch, and all tests passed: make build has nothing to do.
    is_green: bool = False
    slow: dict[str, Any] = field(default_factory=dict)
