"""Keys that ascend in what is sent are unique; all others are left to the warehouse."""

import pytest

from loader.destinations.ascending import Ascending
from loader.schema import BIGINT, DATE, DOUBLE, INTEGER, TEXT, Column, Table, Type, decimal_type
from loader.wire import Block

KINDS = {"v": TEXT, "n": INTEGER, "big": BIGINT, "t": TEXT, "d": DATE, "r": DOUBLE}


def _proved(key: str, *blocks: str, kind: Type | None = None) -> bool:
    """`blocks`: values of the key's columns by row, with a comma between columns."""
    names = key.split(",")
    columns = [Column("v", "v", "", TEXT)]
    columns += [Column(n, n, "", kind or KINDS[n]) for n in names]
    ascending = Ascending(Table("x", "x", tuple(columns), tuple(names)))
    for block in blocks:
        rows = block.split(" ")
        data = "".join("same\t" + row.replace(",", "\t").replace("_", " ") + "\n" for row in rows)
        ascending.add(Block(data.encode(), len(rows)))
    return ascending.proved


@pytest.mark.parametrize(
    ("key", "blocks"),
    [
        ("n", ["-1 0 9 10", "11", "12 100"]),
        ("big", ["-9223372036854775808 9223372036854775807"]),
        ("t", ["A B a", "aa é"]),
        ("n,t", ["1,b 2,a 2,b", "2,c 3,a"]),
        ("d", ["2026-01-01 2026-01-02"]),
    ],
)
def test_ascending(key: str, blocks: list[str]) -> None:
    assert _proved(key, *blocks)


@pytest.mark.parametrize(
    ("key", "blocks"),
    [
        ("n", ["1 2 2"]),
        ("n", ["1 2", "2 3"]),
        ("n", ["1 3 2"]),
        ("n", ["1 2", "\\N 3"]),
        ("n", ["\\N"]),
        ("t", ["a", "a"]),
        ("n,t", ["1,a 1,b", "1,b"]),
        ("n,t", ["1,a 1,\\N 2,a"]),
        # Equal numbers, two spellings.
        ("r", ["-0 0"]),
        # Arrow cannot read it; the warehouse says why.
        ("n", ["1 x"]),
    ],
)
def test_not_ascending(key: str, blocks: list[str]) -> None:
    assert not _proved(key, *blocks)


def test_decimals_are_compared_as_numbers() -> None:
    assert _proved("v2", "9.50 10.00", kind=decimal_type(10, 2))
    assert not _proved("v2", "10.00 9.50", kind=decimal_type(10, 2))


def test_a_table_without_a_key() -> None:
    assert not Ascending(Table("x", "x", (Column("v", "v", "", TEXT),))).proved
