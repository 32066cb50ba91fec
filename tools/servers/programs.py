"""What of Debian the tests need, and where it is installed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar


class ServerError(RuntimeError):
    """A private server is missing or could not be started or used; the text says why."""


class Program:
    """A program of a Debian package, and where it is installed."""

    title: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    binaries: ClassVar[tuple[str, ...]]
    search_path: ClassVar[tuple[str, ...]]

    @classmethod
    def find_binaries(cls) -> dict[str, Path]:
        """Return the programs by name. Raises ServerError that names the missing ones."""
        folders = [p for pattern in cls.search_path for p in _newest_first(pattern)]
        path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", os.defpath)])
        found = {name: shutil.which(name, path=path) for name in cls.binaries}
        missing = [name for name, where in found.items() if where is None]
        if missing:
            raise ServerError(
                f"{cls.title} is not installed ({', '.join(missing)} not found); "
                f"on Debian: apt-get install {' '.join(cls.packages)}"
            )
        return {name: Path(where) for name, where in found.items() if where is not None}


class Chromium(Program):
    """The browser in which the tests open pages."""

    title = "Chromium"
    packages = ("chromium", "fonts-liberation")
    binaries = ("chromium",)
    search_path = ("/usr/bin",)


def _newest_first(pattern: str) -> Iterator[Path]:
    """Folders that match an absolute pattern, the highest version first."""
    found = Path("/").glob(pattern.lstrip("/"))
    yield from sorted(found, key=lambda p: [int(x) for x in p.parts if x.isdigit()], reverse=True)
