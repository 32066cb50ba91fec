"""The rows of MariaDB's binary log, of which only the columns of a key are decoded."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .binlog import COMPRESSED_ROWS, UPDATES, WITH_EXTRA, Event, inflated
from .binlog_values import size_of

# Bytes of a type's description in a table's event; other types have none.
META = {4: 1, 5: 1, 17: 1, 18: 1, 19: 1, 140: 1, 255: 1}
META |= dict.fromkeys((242, 245, 249, 250, 251, 252), 1)
META |= dict.fromkeys((15, 16, 141, 246, 247, 248, 253, 254), 2)


@dataclass(frozen=True)
class TableMap:
    """A table as the events that follow have it: each column's type and the type's description."""

    database: str
    name: str
    types: bytes
    metas: tuple[bytes, ...]


# The fields of some columns: as they are in the log; None for null.
Image = Mapping[int, bytes | None]


def table_of(event: Event) -> tuple[int, TableMap]:
    """A table and the number that the rows' events call it by."""
    body = event.body
    number = int.from_bytes(body[:6], "little")
    place = 8
    names = []
    for _ in range(2):
        length = body[place]
        names.append(body[place + 1 : place + 1 + length].decode())
        place += length + 2
    count, place = _length(body, place)
    types = body[place : place + count]
    _, place = _length(body, place + count)
    metas = []
    for kind in types:
        size = META.get(kind, 0)
        metas.append(body[place : place + size])
        place += size
    return number, TableMap(names[0], names[1], types, tuple(metas))


def number_of(event: Event) -> int:
    """The number of the table that rows belong to."""
    return int.from_bytes(event.body[:6], "little")


def images(
    event: Event, table: TableMap, wanted: Sequence[int]
) -> Iterator[tuple[Image | None, Image | None]]:
    """Each row before and after: the wanted columns, as far as the log has them."""
    body, place = event.body, 8
    if event.type in WITH_EXTRA:
        place += struct.unpack_from("<H", body, place)[0]
    count, place = _length(body, place)
    width = (count + 7) // 8
    is_update = event.type in UPDATES
    there = []
    for _ in range(2 if is_update else 1):
        bits = int.from_bytes(body[place : place + width], "little")
        there.append([n for n in range(count) if bits >> n & 1])
        place += width
    rows = body[place:]
    if event.type in COMPRESSED_ROWS:
        rows = inflated(rows)
    place, want = 0, set(wanted)
    while place < len(rows):
        first, place = _image(rows, place, table, there[0], want)
        if is_update:
            second, place = _image(rows, place, table, there[1], want)
            yield first, second
        else:
            yield first, None


def _image(
    rows: bytes, place: int, table: TableMap, columns: Sequence[int], wanted: set[int]
) -> tuple[Image, int]:
    nulls = int.from_bytes(rows[place : place + (len(columns) + 7) // 8], "little")
    place += (len(columns) + 7) // 8
    found: dict[int, bytes | None] = {}
    for n, column in enumerate(columns):
        if nulls >> n & 1:
            if column in wanted:
                found[column] = None
            continue
        head, size = size_of(table.types[column], table.metas[column], rows, place)
        if column in wanted:
            found[column] = rows[place + head : place + head + size]
        place += head + size
    return found, place


def _length(data: bytes, place: int) -> tuple[int, int]:
    """A number in the protocol's packed form, and what follows it."""
    first = data[place]
    if first < 0xFB:
        return first, place + 1
    size = {0xFC: 2, 0xFD: 3, 0xFE: 8}[first]
    return int.from_bytes(data[place + 1 : place + 1 + size], "little"), place + 1 + size
