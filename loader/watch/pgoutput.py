"""PostgreSQL's stream of changes (pgoutput, version 1), as far as a doorbell needs it.

What each message holds is in PostgreSQL's manual, "Logical Replication Message Formats".
"""

import struct
from dataclasses import dataclass

# Seconds from 1970 to the year 2000, in which PostgreSQL's time begins.
EPOCH = 946_684_800
# The values of a row: text, or None for null; UNCHANGED where the stream leaves one out.
Values = list[bytes | None]
UNCHANGED = b"\0unchanged"


@dataclass(frozen=True)
class Relation:
    """A table as the messages that follow have it."""

    schema: str
    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """A row before and after, as far as it is there."""

    relation: int
    old: Values | None
    new: Values | None


def relation_of(data: bytes) -> tuple[int, Relation]:
    """A table, and the number that rows call it by."""
    (number,) = struct.unpack_from(">I", data, 1)
    schema, place = _name(data, 5)
    name, place = _name(data, place)
    (count,) = struct.unpack_from(">H", data, place + 1)
    place += 3
    columns = []
    for _ in range(count):
        column, place = _name(data, place + 1)
        columns.append(column)
        place += 8
    return number, Relation(schema, name, tuple(columns))


def change_of(data: bytes) -> Change:
    """The row of an insert, update or delete."""
    (number,) = struct.unpack_from(">I", data, 1)
    place, images = 5, dict[str, Values]()
    while place < len(data):
        kind = chr(data[place])
        images[kind], place = _values(data, place + 1)
    return Change(number, images.get("K") or images.get("O"), images.get("N"))


def truncated(data: bytes) -> list[int]:
    """The numbers of the tables that were emptied."""
    (count,) = struct.unpack_from(">I", data, 1)
    return list(struct.unpack_from(f">{count}I", data, 6))


def begun(data: bytes) -> tuple[float, int]:
    """When a transaction was committed, and its number."""
    _, moment, xid = struct.unpack_from(">QQI", data, 1)
    return moment / 1e6 + EPOCH, xid


def end_of(data: bytes) -> int:
    """Where the log goes on after a commit."""
    (end,) = struct.unpack_from(">Q", data, 10)
    return int(end)


def _values(data: bytes, place: int) -> tuple[Values, int]:
    (count,) = struct.unpack_from(">H", data, place)
    place += 2
    values: Values = []
    for _ in range(count):
        kind = data[place : place + 1]
        place += 1
        if kind == b"n":
            values.append(None)
        elif kind == b"u":
            values.append(UNCHANGED)
        else:
            (size,) = struct.unpack_from(">I", data, place)
            values.append(bytes(data[place + 4 : place + 4 + size]))
            place += 4 + size
    return values, place


def _name(data: bytes, place: int) -> tuple[str, int]:
    end = data.index(b"\0", place)
    return data[place:end].decode(), end + 1
