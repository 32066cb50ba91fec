"""Runs a command in its own process and measures its cost."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# A small process in between, because a child's peak memory starts at that of its parent.
_LAUNCHER = """
import os, sys, time
began = time.monotonic()
to_stderr = [(os.POSIX_SPAWN_DUP2, 2, 1)]
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=to_stderr)
_, status, used = os.wait4(pid, 0)
wall = time.monotonic() - began
print(status, wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
"""


class CommandError(RuntimeError):
    """A measured command failed; `said` are the lines that it printed."""

    def __init__(self, command: Sequence[str], said: Sequence[str]) -> None:
        super().__init__("\n".join((f"{' '.join(command)} failed:", *said[-30:])))
        self.said = said or ["it said nothing"]


@dataclass(frozen=True)
class Cost:
    """The cost of one run of a command: wall and CPU seconds, peak resident MB."""

    wall: float
    cpu: float
    peak: float


def measure(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Cost:
    """Run a command in a folder, with variables added to the environment of this process.

    Raises CommandError when the command fails.
    """
    with tempfile.TemporaryFile() as said:
        launched = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command],
            stdout=subprocess.PIPE,
            stderr=said,
            env={**os.environ, **environment},
            cwd=folder,
        )
        status, wall, cpu, peak = map(float, launched.stdout.split())
        if status:
            said.seek(0)
            words = said.read().decode(errors="replace").strip().splitlines()
            raise CommandError(command[:2], words)
    return Cost(wall, cpu, peak)


def percentiles(lags: Sequence[float]) -> str:
    """The median of some seconds, the 95th of a hundred, and the largest, in words."""
    if not lags:
        return "none"
    found = sorted(lags)
    p50, p95 = (found[int(len(found) * share)] for share in (0.5, 0.95))
    return f"p50 {p50:.3f} s, p95 {p95:.3f} s, max {found[-1]:.3f} s"
