"""The project as dbt has parsed it, kept for the next build."""

from __future__ import annotations

import os
import pickle
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Parsed:
    """The file with the project as dbt has parsed it, for code, settings and warehouse of `key`.

    dbt's own file for that takes a second to read and compare.
    """

    path: Path
    key: str

    def read(self) -> Any:
        """The manifest; None without one for this key."""
        from dbt.contracts.graph.manifest import Manifest

        try:
            with self.path.open("rb") as file:
                key = pickle.load(file)
                return Manifest(**pickle.load(file)) if key == self.key else None
        except Exception:  # of another version, or cut off: all kinds of errors
            return None

    def write(self, manifest: Any) -> None:
        """Leave a manifest for the next build; without room for it that parses again."""
        # Without what dbt makes again: it cannot pickle a whole manifest.
        names = [field.name for field in fields(manifest) if not field.name.startswith("_")]
        kept = {name: getattr(manifest, name) for name in names}
        fresh = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(pickle.dumps(self.key) + pickle.dumps(kept))
            fresh.replace(self.path)

    def forget(self) -> None:
        """Let the project be parsed anew."""
        with suppress(OSError):
            self.path.unlink()
