"""The tests of a watch: in parts, so that batches can come between, with pauses when it is busy."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from loader.watch.status import now
from pipeline.dbt_runner import Result
from pipeline.warm_marts import Span

# Seconds of the tests of one part, together; some run at the same time. And of one that is new.
PART, UNKNOWN = 1.0, 0.04
# In a busy shop, one second of tests comes after so many of batches: tests hold up the next one.
SHARE, FIRST_TESTS = 30.0, 2.0


class Round:
    """One look at the rows of a span. Rows that come meanwhile are those of the next round too."""

    def __init__(self, nodes: Iterable[str], span: Span) -> None:
        """`nodes`: ids of tests."""
        self.span, self.began_at = span, now()
        self.count = 0
        self._left = list(nodes)

    @property
    def is_over(self) -> bool:
        """Whether all tests have run."""
        return not self._left

    def next_part(self, names: Mapping[str, str], seconds: Mapping[str, float]) -> Sequence[str]:
        """The tests to run next: few that take long, or many. `seconds` are known by name."""
        part: list[str] = []
        cost = 0.0
        for node in self._left:
            cost += seconds.get(names[node], UNKNOWN)
            if part and cost > PART:
                break
            part.append(node)
        return part

    def ran(self, part: Sequence[str], results: int) -> None:
        """These have run, with so many results."""
        self._left = [node for node in self._left if node not in {*part}]
        self.count += results


class Pace:
    """When tests ran last, how long they took, and how long each of them."""

    def __init__(self) -> None:
        self.seconds = dict[str, float]()
        self._ended = self._took = 0.0

    def begin(self) -> None:
        """Nobody knows yet how long they take."""
        self._ended, self._took = time.monotonic(), FIRST_TESTS

    def may_run(self, *, quiet: bool) -> bool:
        """Whether batches had their time since then."""
        return quiet or time.monotonic() - self._ended > SHARE * self._took

    def ended(self, began: float, results: Iterable[Result] = ()) -> None:
        """Some have run, since this time of time.monotonic()."""
        self._ended = time.monotonic()
        self._took = self._ended - began
        self.seconds |= {result.name: result.seconds for result in results}

    def failed(self) -> None:
        """They did not run to their end."""
        self._ended = time.monotonic()
