"""What the tests of a watch find: said when it begins and when it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pipeline.dbt_runner import Result
from pipeline.findings import size

# What a test ends with that has looked at its rows.
FINISHED = ("pass", "warn", "fail")


class Verdicts:
    """By name, the tests that found something, or did not end, when they last ran."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._found: dict[str, Result] = {}

    @property
    def names(self) -> frozenset[str]:
        """The tests that have to look at all rows."""
        return frozenset(self._found)

    @property
    def results(self) -> list[Result]:
        """What they found."""
        return list(self._found.values())

    @property
    def unfinished(self) -> frozenset[str]:
        """The tests that ended in an error or were skipped: nobody knows what they would find."""
        return frozenset(r.name for r in self.results if r.status not in FINISHED)

    @property
    def failed(self) -> list[dict[str, Any]]:
        """For the status: what is not green."""
        return [
            {"test": r.name, "count": r.failures, "text": _sentence(r).removeprefix("watch: ")}
            for r in self.results
            if r.status != "warn"
        ]

    def begin(self, warned: Sequence[Result]) -> None:
        """Go on from a green build that warned of something."""
        self._found = {result.name: result for result in warned}

    def judge(
        self, results: Sequence[Result], with_rows: Callable[[Sequence[Result]], Sequence[Result]]
    ) -> None:
        """Say which tests have begun to find something, and which find nothing any more."""
        bad, before = [result for result in results if not result.is_good], self._found
        ran = {result.name for result in results}
        self._found = {name: result for name, result in before.items() if name not in ran}
        for result in with_rows(bad) if bad else []:
            self._found[result.name] = result
            known = before.get(result.name)
            # Which of the rows are the first three is not told again.
            if known is None or (known.failures, known.status) != (result.failures, result.status):
                self._say(_sentence(result))
        for name in before:
            if name not in self._found:
                self._say(f"watch: the test {name} finds nothing any more")


def _sentence(result: Result) -> str:
    """What a test found, with the first rows."""
    did = "warns" if result.status == "warn" else "failed"
    rows = "; ".join(result.found.rows) if result.found and result.found.rows else ""
    message = rows or " ".join(result.message.split())
    return f"watch: the test {result.name} {did}: {size(result) or 'an error'}: {message}"
