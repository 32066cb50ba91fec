"""What every source does, whatever its database: the contract of `loader.sources.base.Source`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from loader import LoadError, UsageError, ranges
from loader.ranges import Digests, Partition, Scope
from loader.schema import Kind, Table
from loader.sources import Source, open_source
from loader.sources.base import VIEW
from loader.wire import Issue, Issues, without_losses
from support.sources import SOURCES, Shop, Value

# By type: values, and how they travel.
VALUES: dict[Kind, list[tuple[Value, str]]] = {
    Kind.BOOLEAN: [(True, "t"), (False, "f")],
    Kind.SMALLINT: [(-32768, "-32768"), (0, "0")],
    Kind.INTEGER: [(2147483647, "2147483647"), (-1, "-1")],
    Kind.BIGINT: [
        (-9223372036854775808, "-9223372036854775808"),
        (9007199254740993, "9007199254740993"),
    ],
    Kind.DECIMAL: [(Decimal("-0.01"), "-0.01"), (Decimal("136"), "136.00")],
    Kind.DOUBLE: [(0.1, "0.1e0"), (-1.5e20, "-0.15e21")],
    Kind.DATE: [(date(2024, 2, 29), "2024-02-29"), (date(9999, 12, 31), "9999-12-31")],
    Kind.TIMESTAMP: [
        (datetime(2024, 12, 31, 23, 59, 59, 500000), "2024-12-31 23:59:59.5"),
        (datetime(2024, 3, 31, 2, 30), "2024-03-31 02:30:00"),
    ],
    Kind.TEXT: [("tab\tback\\slash\r\n", r"tab\tback\x5Cslash\r\n"), ("", "")],
    Kind.BINARY: [(bytes(range(256)), rf"\x5Cx{bytes(range(256)).hex()}"), (b"", r"\x5Cx")],
}
TEXTS = [
    (r"\N", r"\x5CN"),
    (r"\?Z", r"\x5C?Z"),
    ('quo"te', 'quo"te'),
    ("comma, 'apostrophe'", "comma, 'apostrophe'"),
    (" blanks ", " blanks "),
    ("Grüße, Ω, 東京, 🚗", "Grüße, Ω, 東京, 🚗"),
    ("\b\f\v\x7f", "\b\f\v\x7f"),
    ("NULL", "NULL"),
]
# More than the fewest for which key ranges are worth a digest.
MANY = 6_000


@pytest.fixture(params=SOURCES)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    """Each source in turn, empty."""
    return SOURCES[request.param](request, tmp_path)


def everything(names: Mapping[str, str]) -> Collection[str]:
    return names


def base_tables(names: Mapping[str, str]) -> Collection[str]:
    return [name for name, why in names.items() if not why]


@pytest.fixture
def opened() -> Iterator[Callable[[Shop], Source]]:
    """How to open a source, which is closed at the end."""
    sources: list[Source] = []

    def open_it(shop: Shop) -> Source:
        sources.append(open_source(shop.url))
        return sources[-1]

    yield open_it
    for source in sources:
        source.close()


def listed(source: Source) -> dict[str, Table]:
    return {table.name: table for table in source.tables(base_tables)}


def lines(source: Source, table: Table, scope: Scope | None = None) -> list[str]:
    """The rows as they travel; each block must hold whole lines, and know how many."""
    found: list[str] = []
    for block in source.read(table, scope or Scope(), Issues(table)):
        assert block.data.endswith(b"\n")
        assert block.data.count(b"\n") == block.rows
        found.extend(block.data.decode().split("\n")[:-1])
    if scope is None or scope.after is not None:
        assert source.count(table, scope or Scope()) == len(found)
    return found


def is_sentence(error: BaseException) -> bool:
    said = str(error)
    # A sentence about a file may begin with its path.
    begins = said[:1].isupper() or said.startswith("/")
    return begins and said.endswith(".") and "\n" not in said and "secret" not in said


def test_tables_are_listed_with_columns_types_and_keys(
    shop: Shop, opened: Callable[[Shop], Source]
) -> None:
    columns = {"B": Kind.INTEGER, "a": Kind.INTEGER, "Note": Kind.TEXT}
    shop.create("Lines", columns, [(1, 2, None)], key=["a", "B"])
    shop.create("log", {"message": Kind.TEXT}, [("x",)])
    integer = shop.arrives_as.get(Kind.INTEGER, Kind.INTEGER)
    source = opened(shop)
    assert source.warnings == []
    found = listed(source)
    assert found.keys() == {"Lines", "log"}
    table = found["Lines"]
    assert table.raw_name == "lines"
    assert [(c.name, c.raw_name, c.type.kind) for c in table.columns] == [
        ("B", "b", integer),
        ("a", "a", integer),
        ("Note", "note", Kind.TEXT),
    ]
    assert [column.nullable for column in table.columns] == [False, False, True]
    assert table.key == ("a", "B")
    assert found["log"].key == ()


def test_wanted_is_asked_once_and_decides_about_views(
    shop: Shop, opened: Callable[[Shop], Source]
) -> None:
    shop.create("orders", {"id": Kind.INTEGER}, [(1,)], key=["id"])
    names = {"orders": ""}
    if shop.create_view("open_orders", "orders"):
        names["open_orders"] = VIEW
    for answer, expected in ((everything, {*names}), (base_tables, {"orders"})):
        asked: list[dict[str, str]] = []

        def wanted(
            found: Mapping[str, str],
            answer: Callable[[Mapping[str, str]], Collection[str]] = answer,
            asked: list[dict[str, str]] = asked,
        ) -> Collection[str]:
            asked.append(dict(found))
            return answer(found)

        source = opened(shop)
        tables = source.tables(wanted)
        assert asked == [names]
        assert {table.name for table in tables} == expected
        for table in tables:
            assert lines(source, table) == ["1"]
            assert table.key == (() if names[table.name] else ("id",))


def test_a_table_that_is_not_wanted_costs_no_rows(
    shop: Shop, opened: Callable[[Shop], Source]
) -> None:
    shop.create("wanted", {"id": Kind.INTEGER}, [(1,)])
    shop.create("other", {"id": Kind.INTEGER}, [(1,)])
    found = {table.name: table for table in opened(shop).tables(lambda _: ["wanted"])}
    # It is listed all the same: what is not listed counts as dropped.
    assert found.keys() == {"wanted", "other"}
    assert found["wanted"].columns


def test_every_type_has_one_spelling(shop: Shop, opened: Callable[[Shop], Source]) -> None:
    columns = {"id": Kind.INTEGER} | {kind.value: kind for kind in VALUES}
    rows: list[list[Value]] = [[n, *(v[n][0] for v in VALUES.values())] for n in range(2)]
    shop.create("kinds", columns, [*rows, [2, *[None] * len(VALUES)]], key=["id"])
    source = opened(shop)
    table = listed(source)["kinds"]
    assert [column.type.kind for column in table.columns] == [
        shop.arrives_as.get(kind, kind) for kind in columns.values()
    ]
    decimal = next(c.type for c in table.columns if c.name == "decimal")
    assert (decimal.precision, decimal.scale) == (10, 2)
    expected = [[str(n), *(v[n][1] for v in VALUES.values())] for n in range(2)]
    expected.append(["2", *["\\N"] * len(VALUES)])
    assert sorted(line.split("\t") for line in lines(source, table)) == expected


def test_texts_arrive_to_the_last_character(shop: Shop, opened: Callable[[Shop], Source]) -> None:
    texts = [(n, text) for n, (text, _) in enumerate(TEXTS)]
    shop.create("texts", {"id": Kind.INTEGER, "text": Kind.TEXT}, texts, key=["id"])
    source = opened(shop)
    assert sorted(lines(source, listed(source)["texts"])) == [
        f"{n}\t{field}" for n, (_, field) in enumerate(TEXTS)
    ]


def test_a_value_that_no_type_holds_is_null_and_counted(
    shop: Shop, opened: Callable[[Shop], Source]
) -> None:
    shop.create("hard", {"id": Kind.INTEGER, "v": shop.lost[0]}, [], key=["id"])
    shop.insert_lost("hard")
    source = opened(shop)
    table = listed(source)["hard"]
    issues = Issues(table)
    blocks = without_losses(
        source.read(table, Scope(), issues),
        issues,
        stores_nul=True,
        marks_infinity=source.marks_infinity,
        longest={},
    )
    assert b"".join(block.data for block in blocks) == b"1\t\\N\n"
    assert {column: issue for (column, _), issue in issues.found.items()} == {"v": Issue(1, "1")}
    ((_, reason),) = issues.found
    assert "loaded as null" in reason


def test_an_empty_table_has_no_rows(shop: Shop, opened: Callable[[Shop], Source]) -> None:
    shop.create("empty", {"id": Kind.INTEGER}, [], key=["id"])
    source = opened(shop)
    table = listed(source)["empty"]
    assert lines(source, table) == []
    assert source.partition(table) is None


def test_all_tables_are_of_one_moment(shop: Shop, opened: Callable[[Shop], Source]) -> None:
    for name in ("first", "second"):
        shop.create(name, {"id": Kind.INTEGER}, [(1,)], key=["id"])
    source = opened(shop)
    tables = listed(source)
    shop.insert("first", [(2,)])
    assert lines(source, tables["first"]) == ["1"]
    shop.insert("second", [(2,)])
    assert lines(source, tables["second"]) == ["1"]
    # Reading does not use a table up.
    assert lines(source, tables["first"]) == ["1"]
    source.close()
    later = opened(shop)
    assert {name: lines(later, table) for name, table in listed(later).items()} == {
        "first": ["1", "2"],
        "second": ["1", "2"],
    }


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("id", "2", ["3"]),
        ("day", "2026-01-01", ["2", "3"]),
        ("at", "2026-01-02 00:00:00", ["3"]),
        ("amount", "10.10", ["3"]),
    ],
)
def test_rows_after_a_cursors_value(
    shop: Shop, opened: Callable[[Shop], Source], column: str, value: str, expected: list[str]
) -> None:
    columns = {
        "id": Kind.INTEGER,
        "day": Kind.DATE,
        "at": Kind.TIMESTAMP,
        "amount": Kind.DECIMAL,
    }
    days = (date(2026, 1, 1), date(2026, 1, 2), date(2026, 1, 3))
    amounts = (Decimal("9.99"), Decimal("10.10"), Decimal("10.11"))
    rows = [
        (n + 1, day, datetime(day.year, day.month, day.day), amounts[n])
        for n, day in enumerate(days)
    ]
    shop.create("grows", columns, rows, key=["id"])
    source = opened(shop)
    table = listed(source)["grows"]
    cursor = next(c for c in table.columns if c.name == column)
    found = lines(source, table, Scope(after=(cursor, value)))
    assert sorted(line.split("\t")[0] for line in found) == expected


@pytest.fixture
def many(shop: Shop) -> Shop:
    """A shop with a table large enough for key ranges: keys with gaps, on both sides of zero."""
    rows = [(n * 3, f"note\t{n}") for n in range(-MANY // 2, MANY // 2)]
    shop.create("many", {"id": Kind.INTEGER, "note": Kind.TEXT}, rows, key=["id"])
    return shop


def ranged(source: Source, shop: Shop) -> tuple[Table, Partition] | None:
    """The table and its ranges; None for a source that has none, and then says so throughout."""
    table = listed(source)["many"]
    partition = source.partition(table)
    assert (partition is not None) == shop.has_digests
    if partition is None:
        assert source.digests(table, Partition(table.key_columns[0], 100), Digests()) is None
        return None
    return table, partition


def key_of(line: str) -> int:
    return int(line.split("\t")[0])


def test_digests_agree_with_the_rows(many: Shop, opened: Callable[[Shop], Source]) -> None:
    source = opened(many)
    found = ranged(source, many)
    if found is None:
        return
    table, partition = found
    digests = source.digests(table, partition, Digests())
    assert digests is not None
    scope = Scope(partition)
    rows: dict[int, int] = {}
    for line in lines(source, table, scope):
        number = partition.number(key_of(line))
        rows[number] = rows.get(number, 0) + 1
    assert sum(rows.values()) == MANY
    assert {number: digest.rows for number, digest in digests.items()} == rows
    assert all(digest.value for digest in digests.values())
    # What the source digests while it reads is what it says before.
    assert scope.digests == digests


def test_digests_are_the_same_whatever_is_known_before(
    many: Shop, opened: Callable[[Shop], Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks spare work, and change nothing about the ranges."""
    monkeypatch.setattr(ranges, "ROWS_PER_BLOCK", 1_000)
    source = opened(many)
    found = ranged(source, many)
    if found is None:
        return
    table, partition = found
    scope = Scope(partition)
    lines(source, table, scope)
    before = scope.digests
    again = source.digests(table, partition, before)
    assert again == before
    assert again is not None
    assert again.blocks == before.blocks
    source.close()
    many.insert("many", [(-(10**6), "below"), (1, "in a gap"), (10**6, "above")])
    later = opened(many)
    table = listed(later)["many"]
    now = later.digests(table, partition, before)
    assert now is not None
    assert now == later.digests(table, partition, Digests())
    # The blocks of this time serve the next time.
    assert later.digests(table, partition, now) == now
    if before.blocks:
        kept = [first for first, digest in now.blocks.items() if digest == before.blocks.get(first)]
        assert 0 < len(kept) < len(before.blocks)


def test_only_the_ranges_that_are_asked_for_are_read(
    many: Shop, opened: Callable[[Shop], Source]
) -> None:
    source = opened(many)
    found = ranged(source, many)
    if found is None:
        return
    table, partition = found
    numbers = sorted((source.digests(table, partition, Digests()) or Digests()).keys())
    wanted = frozenset({numbers[0], 0, numbers[5], numbers[6], numbers[-1]})
    expected = [line for line in lines(source, table) if partition.number(key_of(line)) in wanted]
    assert sorted(lines(source, table, Scope(partition, wanted))) == sorted(expected)
    assert lines(source, table, Scope(partition, frozenset())) == []


def test_only_the_digest_of_a_changed_range_changes(
    many: Shop, opened: Callable[[Shop], Source]
) -> None:
    source = opened(many)
    found = ranged(source, many)
    if found is None:
        return
    table, partition = found
    before = source.digests(table, partition, Digests()) or Digests()
    many.insert("many", [(1, "a note in a gap")])
    assert source.digests(table, partition, Digests()) == before  # one moment
    source.close()
    later = opened(many)
    after = later.digests(listed(later)["many"], partition, before) or Digests()
    assert {n for n in before.keys() | after.keys() if before.get(n) != after.get(n)} == {0}


def test_a_key_of_text_is_not_cut(shop: Shop, opened: Callable[[Shop], Source]) -> None:
    rows = [(f"k{n}",) for n in range(MANY)]
    shop.create("named", {"code": Kind.TEXT}, rows, key=["code"])
    source = opened(shop)
    assert source.partition(listed(source)["named"]) is None


def test_close_is_safe_twice_and_in_the_middle(many: Shop) -> None:
    source = open_source(many.url)
    next(iter(source.read(listed(source)["many"], Scope(), Issues(listed(source)["many"]))))
    source.close()
    source.close()
    with closing(open_source(many.url)) as again:
        assert len(lines(again, listed(again)["many"])) == MANY


def test_errors_are_sentences(shop: Shop) -> None:
    with pytest.raises(LoadError) as unreachable:
        open_source(shop.broken_url)
    assert not isinstance(unreachable.value, UsageError)
    assert is_sentence(unreachable.value)
    shop.create("orders", {"id": Kind.INTEGER}, [(1,)], key=["id"])
    source = open_source(shop.url)
    table = listed(source)["orders"]
    source.close()
    with pytest.raises(LoadError) as closed:
        lines(source, table)
    assert is_sentence(closed.value)
    with pytest.raises(LoadError) as unlisted:
        listed(source)
    assert is_sentence(unlisted.value)
