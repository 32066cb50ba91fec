"""The loader's command line, in this process or in one of its own: the same `Ran` either way.

A process costs half a second to four before it does anything, so most tests call `in_process`.
`as_process` is for what only a process has: its start, its signals, its locks.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from loader.cli import main

REPO = Path(__file__).resolve().parents[3]
SCRIPT = (sys.executable, str(REPO / "scripts" / "load.py"))
MODULE = (sys.executable, "-m", "loader")
# What Python does not show of a program's libraries.
_HIDDEN_WARNINGS = (
    DeprecationWarning,
    PendingDeprecationWarning,
    ImportWarning,
    ResourceWarning,
)


@dataclass
class Ran:
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def tables(self) -> dict[str, list[str]]:
        """The rows of the printed table, by their first word."""
        found: dict[str, list[str]] = {}
        for line in self.out.partition("\n\n")[0].splitlines()[1:]:
            name, *cells = re.split(r" {2,}", line)
            if cells:
                found[name] = cells
        return found

    @property
    def json(self) -> list[dict[str, Any]]:
        """What was printed for machines; every line of both streams must be JSON."""
        for line in self.err.splitlines():
            assert {"at", "level", "message"} == json.loads(line).keys()
        return [json.loads(line) for line in self.out.splitlines()]


def in_process(*arguments: str, folder: Path, **environment: str) -> Ran:
    """Call the command line here, from a folder, with variables on top of the environment.

    It must leave this process as it was: nothing that it opened may stay open.
    """
    out, err = io.StringIO(), io.StringIO()
    before = _open_files()
    with (
        pytest.MonkeyPatch.context() as patch,
        _warnings_to(err),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.chdir(folder)
        for name, value in environment.items():
            patch.setenv(name, value)
        try:
            code = main(arguments)
        except SystemExit as stop:  # argparse ends the program
            assert isinstance(stop.code, int)
            code = stop.code
    if "load: interrupted" in err.getvalue():
        raise KeyboardInterrupt  # meant for the tests
    for _ in range(100):
        left_open = _open_files() - before
        if not left_open:
            break
        time.sleep(0.01)  # a server in this process closes its end a moment later
    assert not left_open, f"still open after {arguments}: {left_open}"
    return _checked(Ran(code, out.getvalue(), err.getvalue()))


def as_process(
    *arguments: str, folder: Path, program: tuple[str, ...] = SCRIPT, **environment: str
) -> Ran:
    """Run the command line as a process, as a person or a cron job does."""
    if program == MODULE:  # of this project, whatever is installed
        environment["PYTHONPATH"] = str(REPO)
    done = subprocess.run(
        [*program, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return _checked(Ran(done.returncode, done.stdout, done.stderr))


def _checked(ran: Ran) -> Ran:
    assert "Traceback" not in ran.err, ran.err
    return ran


@contextlib.contextmanager
def _warnings_to(err: io.StringIO) -> Iterator[None]:
    """Write the warnings that a process would show."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for hidden in _HIDDEN_WARNINGS:
            warnings.simplefilter("ignore", hidden)
        yield
    for found in caught:
        err.write(f"{found.category.__name__}: {found.message}\n")


def _open_files() -> set[str]:
    """Files and sockets that this process has open; a socket's name is its number in the kernel.

    Pipes are left out: libraries make one when they are first used and keep it.
    """
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the descriptor that lists them
            found.add(str(descriptor.readlink()))
    return {name for name in found if name.startswith(("/", "socket:"))}
