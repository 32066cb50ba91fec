"""Key ranges: they show which part of a table changed, so that only that part is sent.

A table whose key begins with an integer column is cut into ranges of equal width over that column:
range number = key div width, rounded towards zero, as MySQL, PostgreSQL and DuckDB all compute it.
The source digests the rows of each range; a range whose count and digest are those of the last run
is not sent. Ranges that follow each other make up a block, which a source may digest first: only in
a block that changed does it look for the ranges.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .schema import Column, Table

# Few, so that a change of one row sends few rows; enough that digests are small beside the rows.
ROWS_PER_RANGE = 300
# Below this, a digest costs more than it saves.
FEWEST_ROWS = 5_000
# Fewer make more queries, more make a change dearer.
ROWS_PER_BLOCK = 10_000

# A row's key: its fields as they travel, in the order of the key's columns.
Key = tuple[bytes, ...]

# A new number when the meaning of a digest changes: then everything is read once more.
_DIGEST_VERSION = 2


@dataclass(frozen=True)
class Partition:
    """How a table is cut: the source column, and how many keys a range spans."""

    column: Column
    width: int

    def bounds(self, number: int) -> tuple[int, int]:
        """The first and last key of a range; range 0 lies on both sides of zero."""
        low, high = number * self.width, number * self.width + self.width - 1
        if number > 0:
            return low, high
        return low - self.width + 1, low if number < 0 else high

    def number(self, key: int) -> int:
        """The range of a key."""
        return range_of(key, self.width)


def range_of(key: int, width: int) -> int:
    """The range of a key."""
    return abs(key) // width * (1 if key >= 0 else -1)


def blocks_of(numbers: Iterable[int], firsts: Sequence[int]) -> set[int]:
    """The blocks that ranges are in; `firsts`, in order, are the first ranges of all blocks."""
    if not firsts:
        return set()
    return {firsts[max(0, bisect_right(firsts, number) - 1)] for number in numbers}


def cut(column: Column, low: int | None, high: int | None, rows: int) -> Partition | None:
    """A partition for these keys; None where it costs more than it saves, or numbers overflow."""
    if low is None or high is None or rows < FEWEST_ROWS:
        return None
    # Widths and numbers are stored as 64-bit integers.
    largest = 2**62
    width = min(max(1, (high - low + 1) * ROWS_PER_RANGE // rows), largest)
    return Partition(column, width) if max(abs(low), abs(high)) // width <= largest else None


def runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """First and last number of each run of consecutive numbers."""
    first = last = None
    for number in sorted(numbers):
        if first is not None and last is not None and number != last + 1:
            yield first, last
            first = None
        first, last = number if first is None else first, number
    if first is not None and last is not None:
        yield first, last


@dataclass(frozen=True)
class Digest:
    """How many rows a range has, and a hash of their lines; an empty `value` is never equal."""

    rows: int
    value: str

    @classmethod
    def of(cls, lines: bytes, rows: int) -> "Digest":
        """Digest lines of wire text without the last newline, as MySQL's sha2 does with 256 bits.

        A processor has instructions for it: it takes a third of the time of md5. MySQL 9.6 has
        neither md5 nor sha1.
        """
        return cls(rows, hashlib.sha256(lines, usedforsecurity=False).hexdigest())


class Digests(dict[int, Digest]):
    """Digests by range.

    `blocks`: digests by the first range of each block. A block ends where the next one begins; the
    first one and the last one have no end, so that no key lies outside.
    """

    def __init__(
        self, ranges: Mapping[int, Digest] | None = None, blocks: Mapping[int, Digest] | None = None
    ) -> None:
        super().__init__(ranges or {})
        self.blocks = dict(blocks or {})

    def add(self, more: "Digests") -> None:
        """Add the ranges and blocks of another part of the table."""
        self.update(more)
        self.blocks.update(more.blocks)

    def make_block(self, first: int, digest: Digest) -> None:
        """Take this digest as that of all these ranges, or cut them where they are too many."""
        if digest.rows > 2 * ROWS_PER_BLOCK:
            self.cut()
        else:
            self.blocks[first] = digest

    def cut(self) -> None:
        """Make blocks of these ranges, of which only the rows are known."""
        first = None
        for number in sorted(self):
            rows = self[number].rows
            if first is None or self.blocks[first].rows + rows > ROWS_PER_BLOCK:
                first = number
                self.blocks[first] = Digest(0, "")
            self.blocks[first] = Digest(self.blocks[first].rows + rows, "")


def digests_of(lines: bytes, position: int, partition: Partition) -> Digests:
    """Digests of the ranges in whole lines that come in the order of the key.

    `position`: which field of a line holds the key. Lines that come in another order give digests
    that match nothing, so that their ranges are read again.
    """

    def key_at(start: int) -> int:
        return int(lines[start : lines.index(b"\n", start)].split(b"\t", position + 1)[position])

    digests = Digests()
    start = 0
    # Where the block begins, its first range and its rows.
    begin, first, rows = 0, 0, 0
    while start < len(lines):
        number = partition.number(key_at(start))
        last_key = partition.bounds(number)[1]
        # The first line of a later range lies in (low, high].
        low, high = start, len(lines)
        while (middle := lines.rfind(b"\n", low, (low + high) // 2) + 1) > low or (
            middle := lines.index(b"\n", low) + 1
        ) < high:
            if key_at(middle) > last_key:
                high = middle
            else:
                low = middle
        digests[number] = Digest.of(lines[start : high - 1], lines.count(b"\n", start, high))
        first = number if begin == start else first
        rows += digests[number].rows
        start = high
        if rows >= ROWS_PER_BLOCK or start >= len(lines):
            digests.blocks[first] = Digest.of(lines[begin : start - 1], rows)
            begin, rows = start, 0
    return digests


@dataclass
class Scope:
    """Which rows of a table are asked for: all, some key ranges, those after a cursor's value, or
    those with one of some keys.

    A source that digests ranges while it reads them puts the digests here.
    """

    partition: Partition | None = None
    numbers: frozenset[int] | None = None
    after: tuple[Column, str] | None = None
    keys: Sequence[Key] | None = None
    digests: Digests = field(default_factory=Digests)


@dataclass
class State:
    """What the last run stored to compare with: a fingerprint of the columns, and all digests."""

    fingerprint: str
    width: int
    digests: Digests = field(default_factory=Digests)


def difference(
    old: Mapping[int, Digest], new: Mapping[int, Digest]
) -> tuple[list[int], dict[int, Digest]]:
    """Which stored numbers to delete, and which digests to store."""
    stored = {number: digest for number, digest in new.items() if old.get(number) != digest}
    deleted = [number for number in old if number not in new or number in stored]
    return deleted, stored


def fingerprint(table: Table) -> str:
    """Identifies the columns under which rows were digested; others make all digests invalid.

    So does another salt: no row may stay with a hash of the old one.
    """
    shape = [
        _DIGEST_VERSION,
        table.key,
        [(c.name, c.raw_name, c.declared, str(c.type), c.hashed) for c in table.columns],
    ]
    return hashlib.sha256(json.dumps(shape).encode()).hexdigest()[:32]


def changed(before: Mapping[int, Digest], now: Mapping[int, Digest]) -> set[int]:
    """Ranges that are new, gone, or not as they were."""
    return {
        number
        for number in before.keys() | now.keys()
        if number not in now or not now[number].value or before.get(number) != now[number]
    }
