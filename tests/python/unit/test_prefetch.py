"""Reading ahead of the warehouse, table after table."""

import threading
from collections.abc import Iterator

import pytest

from loader.prefetch import BYTES_AHEAD, Prefetch
from loader.wire import Block


def _read(name: bytes, blocks: int, size: int = 1) -> Iterator[Block]:
    for number in range(blocks):
        yield Block(name * size, number)


def test_tables_come_one_after_the_other() -> None:
    with Prefetch(
        [lambda: _read(b"a", 3), lambda: _read(b"b", 0), lambda: _read(b"c", 2)]
    ) as reading:
        found = [[(b.data, b.rows) for b in reading.next_table()] for _ in range(3)]
    assert found == [[(b"a", 0), (b"a", 1), (b"a", 2)], [], [(b"c", 0), (b"c", 1)]]


def test_an_error_comes_when_its_table_is_asked_for() -> None:
    def broken() -> Iterator[Block]:
        yield Block(b"x", 1)
        raise ValueError("lost")

    with Prefetch([lambda: _read(b"a", 1), broken]) as reading:
        assert len(list(reading.next_table())) == 1
        rows = reading.next_table()
        assert next(rows).data == b"x"
        with pytest.raises(ValueError, match="lost"):
            next(rows)


def test_what_waits_is_bounded_by_bytes() -> None:
    """Large blocks wait one at a time, however many there are."""
    read = threading.Semaphore(0)

    def counted() -> Iterator[Block]:
        for block in _read(b"x", 5, BYTES_AHEAD):
            read.release()
            yield block

    with Prefetch([counted]) as reading:
        assert read.acquire(timeout=5) and read.acquire(timeout=5)
        # The second one has no room yet, so nobody asks for a third.
        assert not read.acquire(timeout=0.05)
        assert len(list(reading.next_table())) == 5


def test_a_reader_that_is_not_wanted_any_more_stops() -> None:
    """Also one that waits for room."""
    before = threading.active_count()
    with Prefetch([lambda: _read(b"x", 1_000_000, BYTES_AHEAD)]) as reading:
        next(reading.next_table())
    assert threading.active_count() == before
