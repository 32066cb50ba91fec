"""The project as dbt has parsed it and Jinja has compiled it, kept for the next build."""

from __future__ import annotations

import marshal
import os
import pickle
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Parsed:
    """The file with the project as dbt has parsed it, for code, settings and warehouse of `key`.

    dbt's own file for that takes a second to read and compare. Beside it is what each process would
    make again: templates as Jinja has compiled them, and the schemas of settings.
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
        _write(self.path, pickle.dumps(self.key) + pickle.dumps(kept))

    def read_made(self, *kept: dict[Any, Any]) -> None:
        """Add to each of these what an earlier process made for this key."""
        try:
            key, *found = marshal.loads(self._made.read_bytes())
        except Exception:  # as above
            return
        if key == self.key:
            for ours, theirs in zip(kept, found, strict=True):
                ours.update(theirs)

    def write_made(self, *kept: dict[Any, Any]) -> None:
        """Leave what is plain data or code for the next build, if there is room for it."""
        plain = [{name: made for name, made in one.items() if _is_plain(made)} for one in kept]
        _write(self._made, marshal.dumps((self.key, *plain)))

    @property
    def _made(self) -> Path:
        return self.path.with_name("made.marshal")

    def forget(self) -> None:
        """Let the project be parsed anew."""
        with suppress(OSError):
            self.path.unlink()


def _is_plain(made: Any) -> bool:
    try:
        marshal.dumps(made)
    except ValueError:  # some schemas have an enumeration as a default
        return False
    return True


def _write(path: Path, content: bytes) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(content)
        fresh.replace(path)
