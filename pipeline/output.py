"""How a build speaks: in lines for people, in lines of JSON, or in one line when it is green."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

from loader.run_record import RunRecord

FORMATS = ("text", "json")


class Output:
    """What a build says, until its end. `run` is its record, once it has one."""

    def __init__(self) -> None:
        self.run: RunRecord | None = None

    @property
    def is_quiet(self) -> bool:
        """Whether progress is of no interest."""
        return False

    def step(self, name: str, seconds: float, notes: Sequence[str]) -> bool:
        """Say what a step did; False where its lines are to be printed."""
        return False

    def end(self, status: int, seconds: float) -> None:
        """Say how the build ended."""

    @contextlib.contextmanager
    def speaking(self) -> Iterator[None]:
        """Take over what is printed."""
        yield


class QuietOutput(Output):
    """One line when all is green; else everything."""

    def __init__(self) -> None:
        super().__init__()
        self._said = io.StringIO()

    @property
    def is_quiet(self) -> bool:
        return True

    @contextlib.contextmanager
    def speaking(self) -> Iterator[None]:
        try:
            with contextlib.redirect_stdout(self._said):
                yield
        except BaseException:
            self.end(1, 0.0)
            raise

    def end(self, status: int, seconds: float) -> None:
        said = self._said.getvalue()
        if status:
            print(said, end="", flush=True)
        elif self.run:
            warnings = sum("WARNING" in line for line in said.splitlines())
            print(f"Green after {seconds:.1f} s: {summary(self.run, warnings)}", flush=True)


def summary(run: RunRecord, warnings: int) -> str:
    """What a green run did, in a line."""
    parts = [f"{run.row_count:,} rows of the shop changed"] if run.row_count is not None else []
    parts += [f"{run.test_count:,} tests passed"] if run.test_count else ["nothing was tested"]
    parts += [f"{warnings} WARNINGS, which make build without QUIET shows"] if warnings else []
    return f"{', '.join(parts)} (make run ID={run.run_id})"


class JsonOutput(Output):
    """A line of JSON for each step and line, and one for the run at the end."""

    @contextlib.contextmanager
    def speaking(self) -> Iterator[None]:
        self._out = sys.stdout
        lines, errors = JsonLines(sys.stdout, "info"), JsonLines(sys.stderr, "error")
        with contextlib.redirect_stdout(lines), contextlib.redirect_stderr(errors):
            yield
            lines.close()
            errors.close()

    def step(self, name: str, seconds: float, notes: Sequence[str]) -> bool:
        level = "warning" if any("WARNING" in note for note in notes) else "info"
        write(self._out, level, step=name, seconds=round(seconds, 3), notes=list(notes))
        return True

    def end(self, status: int, seconds: float) -> None:
        run = self.run
        known: dict[str, Any] = {"run_id": run.run_id, "outcome": run.outcome} if run else {}
        known |= {"exit_code": status, "seconds": round(seconds, 3)}
        write(self._out, "error" if status else "info", message="the build has ended", **known)


class JsonLines(io.TextIOBase):
    """Writes each line that is printed as a line of JSON."""

    def __init__(self, out: TextIO, level: str) -> None:
        self._out, self._level, self._rest = out, level, ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in filter(str.strip, lines):
            write(self._out, self._level_of(line), message=line.removeprefix("make build: "))
        return len(text)

    def _level_of(self, line: str) -> str:
        if "WARNING" in line:
            return "warning"
        if line.startswith("FAILED"):
            return "error"
        return "info" if line.startswith("make build: waiting ") else self._level

    def close(self) -> None:
        """Write the line that has no end."""
        if self._rest:
            self.write("\n")


def write(out: TextIO, level: str, **values: Any) -> None:
    """Write one line of JSON."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    print(json.dumps({"at": at, "level": level, **values}, default=str), file=out, flush=True)


def output_of(log_format: str, *, quiet: bool) -> Output:
    """How to speak; `quiet` goes before a format."""
    if quiet:
        return QuietOutput()
    return JsonOutput() if log_format == "json" else Output()
