"""What every destination does: the contract of `loader.destinations.base.Destination`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from conftest import Ask, Open
from loader import DuckDBDestination, LoadError
from loader.audit import Record
from loader.destinations import Changes, Destination, KeyFault, Rows, Stamp, Within, duckdb_memory
from loader.destinations.sql import SqlDestination
from loader.ranges import Digest, Digests, Partition, State
from loader.schema import (
    BIGINT,
    BINARY,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    METADATA_COLUMNS,
    SMALLINT,
    TEXT,
    TIMESTAMP,
    Column,
    Kind,
    Table,
    Type,
)
from loader.wire import Block, Tally, escape

MONEY = Type(Kind.DECIMAL, 10, 2)


def _table(name: str, key: Sequence[str] = (), **types: Type) -> Table:
    columns = [Column(c, c.lower(), str(kind), kind, c not in key) for c, kind in types.items()]
    return Table(name, name.lower(), tuple(columns), tuple(key))


ORDERS = _table("Orders", ["id"], id=INTEGER, status=TEXT, total=MONEY)
EVENTS = _table("events", what=TEXT, n=INTEGER)
KINDS = _table(
    "kinds",
    ["id"],
    id=INTEGER,
    yes=BOOLEAN,
    small=SMALLINT,
    big=BIGINT,
    money=MONEY,
    real=DOUBLE,
    day=DATE,
    at=TIMESTAMP,
    text=TEXT,
    bytes=BINARY,
)
BYTES = rf"\x5Cx{bytes(range(256)).hex()}"
# By column, as they travel.
KINDS_FIELDS: dict[str, list[str]] = {
    "id": ["1", "2", "3", "4", "5"],
    "yes": ["t", "f", r"\N", "t", "f"],
    "small": ["-32768", "32767", r"\N", "0", "1"],
    "big": ["9223372036854775807", "-9223372036854775808", r"\N", "0", "1"],
    "money": ["-0.01", "136.00", r"\N", "99999999.99", "0.00"],
    "real": ["0.1e0", "-0.15e21", r"\N", "0.5e-323", "NaN"],
    "day": ["2024-02-29", "9999-12-31", r"\N", "0044-03-15 BC", "0001-01-01"],
    "at": [
        "2024-12-31 23:59:59.5",
        "0001-01-01 00:00:00",
        r"\N",
        "0044-03-15 12:00:00 BC",
        "2026-01-01 00:00:00.000001",
    ],
    "text": [r"a\tb\x5Cc\r\n", "", r"\N", r"\x5CN Grüße, 東京 🚗", " quo'te\" "],
    "bytes": [BYTES, r"\x5Cx", r"\N", r"\x5Cx00", r"\x5Cx5c4e"],
}
KINDS_LINES = ["\t".join(fields) for fields in zip(*KINDS_FIELDS.values(), strict=True)]


def _blocks(lines: Sequence[str], rows_per_block: int = 2) -> Iterator[Block]:
    for start in range(0, len(lines), rows_per_block):
        some = lines[start : start + rows_per_block]
        yield Block("".join(f"{line}\n" for line in some).encode(), len(some))


def _counted(tally: Tally) -> tuple[int, int, str]:
    return tally.rows, tally.size, tally.digest


class Runs:
    """Whole runs against one warehouse, each later than the one before."""

    def __init__(self, opened: Open, ask: Ask) -> None:
        self.open, self.ask = opened, ask
        self.number = 0

    def next_stamp(self) -> Stamp:
        self.number += 1
        at = datetime(2026, 1, self.number)
        return Stamp(f"{at:%Y%m%dT%H%M%S%fZ}_0000", at)

    def begun(self) -> Destination:
        destination = self.open()
        destination.open()
        return destination

    def load(
        self,
        table: Table,
        lines: Sequence[str],
        *,
        keyed: bool = True,
        within: Within | None = None,
        evolve: tuple[Sequence[Column], Mapping[str, Type]] = ((), {}),
        records: Sequence[Record] = (),
    ) -> Changes:
        """Stage, compare, publish and commit these rows."""
        destination, stamp = self.begun(), self.next_stamp()
        try:
            self.stage(destination, table, stamp, lines)
            destination.begin_publish()
            if evolve[0] or evolve[1]:
                destination.evolve(table.raw_name, *evolve)
            changes = destination.publish(table, stamp, keyed=keyed, within=within)
            destination.commit([self.record(stamp, "succeeded"), *records])
        finally:
            destination.close()
        return changes

    def stage(
        self, destination: Destination, table: Table, stamp: Stamp, lines: Sequence[str]
    ) -> None:
        destination.create_staging(table, stamp)
        sent = destination.stage(table, _blocks(lines))
        assert sent.rows == len(lines)
        assert _counted(destination.read_back(table, sent.rows)) == _counted(sent)

    def record(self, stamp: Stamp, status: str) -> Record:
        values = {"batch_id": stamp.batch_id, "started_at": stamp.loaded_at, "status": status}
        return Record("_load_runs", values)

    def held(self, table: Table) -> list[str]:
        destination = self.begun()
        try:
            data = b"".join(block.data for block in destination.held(table))
        finally:
            destination.close()
        return sorted(data.decode().split("\n")[:-1])

    def days(self, table: Table) -> dict[int, tuple[int, int | None]]:
        """By the number in the first column: the run that wrote the row, and that deleted it."""
        name = table.columns[0].raw_name
        rows = self.ask(
            f"select {name}, _loaded_at, _batch_id, _deleted_at from raw.{table.raw_name}"
        )
        found = {}
        for key, loaded, batch, deleted in rows:
            assert batch == f"{loaded:%Y%m%dT%H%M%S%fZ}_0000"
            found[int(key)] = (loaded.day, deleted and deleted.day)
        assert len(found) == len(rows)
        return found

    def tables(self) -> set[str]:
        rows = self.ask(
            "select table_name from information_schema.tables where table_schema = 'raw'"
        )
        return {name for (name,) in rows}


@pytest.fixture
def runs(warehouse: tuple[Open, Ask]) -> Runs:
    """Each destination in turn, empty."""
    return Runs(*warehouse)


# -- before the first load ------------------------------------------------------------------------


def test_an_empty_warehouse_has_no_past_and_is_left_empty(runs: Runs) -> None:
    destination = runs.begun()
    assert destination.last_loaded_at() is None
    assert destination.columns("orders") is None
    assert destination.state("orders") is None
    assert destination.schemas() == {}
    assert destination.warnings == []
    assert "p@ss" not in destination.description
    destination.record_failure([runs.record(runs.next_stamp(), "failed")])
    destination.close()
    assert runs.tables() == set()


def test_close_is_safe_twice_and_without_open(runs: Runs) -> None:
    runs.open().close()
    destination = runs.begun()
    destination.close()
    destination.close()
    runs.begun().close()


# -- staging --------------------------------------------------------------------------------------


def test_what_was_staged_reads_back_and_is_invisible(runs: Runs) -> None:
    destination, stamp = runs.begun(), runs.next_stamp()
    runs.stage(destination, KINDS, stamp, KINDS_LINES)
    runs.stage(destination, EVENTS, stamp, [])
    assert runs.tables() == set()
    destination.close()
    assert runs.tables() == set()
    # Nor is it in the way of the next run.
    assert runs.load(KINDS, KINDS_LINES).live == len(KINDS_LINES)


def test_chunks_read_back_one_by_one(runs: Runs) -> None:
    destination, stamp = runs.begun(), runs.next_stamp()
    if not destination.stages_in_chunks:
        destination.close()
        return
    chunks = [KINDS_LINES[:1], KINDS_LINES[1:2], KINDS_LINES[2:]]
    destination.create_staging(KINDS, stamp)
    if destination.can_read_back_in_parallel:
        with ThreadPoolExecutor(max_workers=1) as aside:
            comparing = []
            for lines in chunks:
                sent = destination.stage(KINDS, _blocks(lines))
                # While the next rows are staged.
                comparing.append((sent, aside.submit(destination.read_back, KINDS, sent.rows)))
            for sent, back in comparing:
                assert _counted(back.result()) == _counted(sent)
    else:
        for lines in chunks:
            sent = destination.stage(KINDS, _blocks(lines))
            assert _counted(destination.read_back(KINDS, sent.rows)) == _counted(sent)
    destination.begin_publish()
    changes = destination.publish(KINDS, stamp, keyed=True)
    destination.commit([runs.record(stamp, "succeeded")])
    destination.close()
    assert changes == Changes(inserted=len(KINDS_LINES), live=len(KINDS_LINES))
    assert runs.held(KINDS) == sorted(KINDS_LINES)


@pytest.mark.parametrize(
    ("second", "bend"),
    [
        ("2\t\\N\t0.30", "total = 0.31"),
        ("2\t\t0.30", "status = null"),
        # Without its null, the row would have the same text.
        ("2\tNew\t0.30", "status = 'New\t0.30', total = null"),
        ("2\tNew\t0.30", "status = 'New\t'"),
        ("2\tNew\t0.30", "status = 'New' || chr(92)"),
        ("2\tNew\t0.30", "total = null"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_staged_row_that_differs_does_not_read_back(
    runs: Runs, first: bool, second: str, bend: str
) -> None:
    """In the first load, whose rows may be staged in place, and in a later one."""
    if not first:
        runs.load(ORDERS, ["1\tNew\t1.00"])
    destination, stamp = runs.begun(), runs.next_stamp()
    destination.create_staging(ORDERS, stamp)
    sent = destination.stage(ORDERS, _blocks(["1\tNew\t1.00", second]))
    bent: Any = destination
    assert bent._run(f"update {bent._staged(ORDERS)} set {bend} where id = 2") == 1
    assert _counted(destination.read_back(ORDERS, sent.rows)) != _counted(sent)
    destination.close()


# -- values and limits ----------------------------------------------------------------------------


def test_each_type_is_held_as_it_was_sent(runs: Runs) -> None:
    runs.load(KINDS, KINDS_LINES)
    destination = runs.begun()
    types = destination.columns("kinds")
    destination.close()
    assert types is not None
    assert {name: kind for name, kind in types.items() if name not in METADATA_COLUMNS} == {
        column.raw_name: column.type for column in KINDS.columns
    }
    assert [*types][-3:] == [*METADATA_COLUMNS]
    assert runs.held(KINDS) == sorted(KINDS_LINES)
    # A later run takes another way in.
    assert runs.load(KINDS, KINDS_LINES) == Changes(live=len(KINDS_LINES))
    # Each row gets the values of the next one.
    keys, *others = KINDS_FIELDS.values()
    turned = [keys, *(fields[1:] + fields[:1] for fields in others)]
    changed = ["\t".join(fields) for fields in zip(*turned, strict=True)]
    assert runs.load(KINDS, changed).updated == len(changed)
    assert runs.held(KINDS) == sorted(changed)


def test_it_holds_what_it_says_it_can(runs: Runs) -> None:
    destination = runs.open()
    name = "n" * (destination.name_limit or 200)
    scale = destination.largest_scale
    table = replace(
        _table("t", ["id"], id=INTEGER, fraction=Type(Kind.DECIMAL, 38, scale), text=TEXT),
        raw_name=name,
    )
    long = Column(name, name, "text", TEXT)
    table = replace(table, columns=(*table.columns, long))
    text = "x" * min(destination.longest.get(Kind.TEXT, 10**6), 10**6)
    nul = "a\0b" if destination.stores_nul else "ab"
    whole = "9" * (38 - scale) or "0"
    line = f"1\t{whole}.{'1' * scale}\t{text}\t{escape(nul)}"
    runs.load(table, [line])
    assert runs.held(table) == [line]


# -- publishing -----------------------------------------------------------------------------------


def test_publish_by_key(runs: Runs) -> None:
    first = ["1\tNew\t10.10", "2\t\\N\t\\N", "3\t\t0.30"]
    assert runs.load(ORDERS, first) == Changes(inserted=3, live=3)
    assert runs.load(ORDERS, first) == Changes(live=3)
    changed = ["4\tNew\t1.00", "1\tNew\t10.11", "3\t\t0.30"]
    assert runs.load(ORDERS, changed) == Changes(inserted=1, updated=1, deleted=1, live=3)
    assert runs.held(ORDERS) == sorted(changed)
    # A row that did not change keeps its stamp; one that is gone stays, with a tombstone.
    assert runs.days(ORDERS) == {1: (3, None), 2: (3, 3), 3: (1, None), 4: (3, None)}
    # It comes back; and from empty to null, or to a blank, is a change.
    assert runs.load(ORDERS, [*changed, "2\t\t\\N"]) == Changes(inserted=1, live=4)
    for status in ("\\N", "", " "):
        assert runs.load(ORDERS, [*changed, f"2\t{status}\t\\N"]) == Changes(updated=1, live=4)
    assert runs.days(ORDERS) == {1: (3, None), 2: (7, None), 3: (1, None), 4: (3, None)}


def test_publish_without_a_key_counts_equal_rows(runs: Runs) -> None:
    first = ["a\t1", "a\t1", "a\t1", "b\t\\N", "\\N\t\\N"]
    assert runs.load(EVENTS, first, keyed=False) == Changes(inserted=5, live=5)
    assert runs.load(EVENTS, first, keyed=False) == Changes(live=5)
    later = ["a\t1", "b\t\\N", "b\t\\N", "\\N\t\\N"]
    assert runs.load(EVENTS, later, keyed=False) == Changes(inserted=1, deleted=2, live=4)
    assert runs.held(EVENTS) == sorted(later)
    stamps = "select what, _loaded_at, _deleted_at is null from raw.events order by 1, 2, 3"
    one, three = datetime(2026, 1, 1), datetime(2026, 1, 3)
    found = [row for row in runs.ask(stamps) if row[0] is not None]
    assert found == [
        ("a", one, True),
        ("a", three, False),
        ("a", three, False),
        ("b", one, True),
        ("b", three, True),
    ]


def test_publish_of_key_ranges_leaves_the_others_alone(runs: Runs) -> None:
    rows = [f"{key}\tNew\t1.00" for key in (-15, -5, 5, 9, 10, 25)]
    runs.load(ORDERS, rows)
    # Range 0 lies on both sides of zero; range 7 has no rows.
    within = Within(Partition(ORDERS.columns[0], 10), frozenset({0, 2, 7}))
    staged = ["5\tNew\t1.00", "-5\tSent\t1.00", "6\tNew\t1.00"]
    assert runs.load(ORDERS, staged, within=within) == Changes(1, 1, 2, live=5)
    assert runs.days(ORDERS) == {
        -15: (1, None),
        -5: (2, None),
        5: (1, None),
        6: (2, None),
        9: (2, 2),
        10: (1, None),
        25: (2, 2),
    }


def test_publish_of_new_rows_only(runs: Runs) -> None:
    runs.load(ORDERS, ["1\tNew\t1.00", "2\tNew\t1.00"])
    staged = ["2\tSent\t1.00", "3\tNew\t1.00"]
    assert runs.load(ORDERS, staged, within=Within()) == Changes(1, 1, 0, live=3)
    assert runs.days(ORDERS) == {1: (1, None), 2: (2, None), 3: (2, None)}
    runs.load(EVENTS, ["a\t1"], keyed=False)
    assert runs.load(EVENTS, ["a\t1"], keyed=False, within=Within()) == Changes(1, live=2)


@pytest.mark.parametrize("many_rows", [1_000_000, 0])
def test_a_key_is_checked_in_the_warehouse(
    runs: Runs, many_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`many_rows`: from which size on PostgreSQL's keys are looked at while they are sent."""
    monkeypatch.setattr("loader.destinations.postgres.MANY_ROWS", many_rows)
    kinds = {"n": INTEGER, "code": TEXT, "at": TIMESTAMP, "bytes": BINARY, "yes": BOOLEAN}
    table = _table("keys", ["n", "code"], **kinds)
    rest = "2026-01-01 00:00:00\t\\x5Cx00\tt"
    good = [f"1\ta\t{rest}", f"1\ta \t{rest}", f"1\tA\t{rest}", f"2\ta\t{rest}", f"2\t\t{rest}"]
    for key in (["n", "code"], ["at"], ["bytes"], ["yes"]):
        keyed = replace(table, key=tuple(key))
        destination, stamp = runs.begun(), runs.next_stamp()
        runs.stage(destination, keyed, stamp, good if key[0] == "n" else good[:1])
        assert destination.key_fault(keyed, Rows.STAGED) is None
        destination.close()
        destination = runs.begun()
        runs.stage(destination, keyed, stamp, [*good, f"2\ta\t{rest}"])
        fault = destination.key_fault(keyed, Rows.STAGED)
        destination.close()
        assert fault is not None
        if key[0] == "n":
            assert fault == KeyFault(2, "2, a")
        else:
            assert fault.rows == 6
    destination, stamp = runs.begun(), runs.next_stamp()
    runs.stage(destination, table, stamp, [f"\\N\tb\t{rest}", *good])
    assert destination.key_fault(table, Rows.STAGED) == KeyFault(1, "null, b")
    destination.close()


# With the first limit keys go to disk; with the other DuckDB cannot do it, and is given no limit.
@pytest.mark.parametrize("limit", ["40MB", "1MB"])
def test_keys_in_no_order_are_checked_in_little_memory(
    limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(duckdb_memory, "FOR_KEYS", limit)
    monkeypatch.setattr(SqlDestination, "key_fault", _listening(said, SqlDestination.key_fault))
    table = _table("sent", ["code"], code=TEXT)
    codes = [sha256(b"%d" % n).hexdigest() for n in range(500_000)]
    destination = DuckDBDestination("raw", tmp_path / "w.duckdb")
    destination.open()
    for lines, fault in ((codes, None), ([*codes, codes[0]], KeyFault(2, codes[0]))):
        destination.create_staging(table, Stamp("a", datetime(2026, 1, 1)))
        destination.stage(table, _blocks(lines, 10_000))
        assert destination.key_fault(table, Rows.STAGED) == fault
    destination.close()
    assert said == (["failed", "done"] * 2 if limit == "1MB" else ["done"] * 2)
    assert not list(tmp_path.iterdir())


def _listening(
    said: list[str], method: Callable[[Any, Table, Rows], KeyFault | None]
) -> Callable[[Any, Table, Rows], KeyFault | None]:
    """The method, and a word on how each call of it ended."""

    def listening(self: Any, table: Table, rows: Rows) -> KeyFault | None:
        said.append("failed")
        fault = method(self, table, rows)
        said[-1] = "done"
        return fault

    return listening


def test_the_published_keys_are_checked_with_and_without_tombstones(runs: Runs) -> None:
    event = replace(EVENTS, key=("n",))
    runs.load(EVENTS, ["a\t1", "b\t2", "c\t\\N"], keyed=False)
    runs.load(EVENTS, ["b\t1", "b\t2", "c\t\\N"], keyed=False)
    destination = runs.begun()
    destination.begin_publish()
    assert destination.live_rows("events") == 3
    assert destination.key_fault(event, Rows.LIVE) == KeyFault(1, "null")
    # A null is equal to no staged key, so it is in the way of nothing.
    assert destination.key_fault(event, Rows.PUBLISHED) == KeyFault(2, "1")
    destination.close()


def test_empty_then_publish_is_a_full_refresh(runs: Runs) -> None:
    runs.load(ORDERS, ["1\tNew\t1.00", "2\tNew\t1.00"])
    runs.load(ORDERS, ["1\tNew\t1.00"])
    destination, stamp = runs.begun(), runs.next_stamp()
    runs.stage(destination, ORDERS, stamp, ["1\tNew\t1.00"])
    destination.begin_publish()
    destination.empty("orders")
    assert destination.publish(ORDERS, stamp, keyed=True) == Changes(inserted=1, live=1)
    destination.commit([runs.record(stamp, "succeeded")])
    destination.close()
    assert runs.days(ORDERS) == {1: (3, None)}


def test_columns_are_added_and_widened_and_nothing_is_lost(runs: Runs) -> None:
    before = _table("grows", ["id"], id=INTEGER, n=INTEGER, day=DATE, total=MONEY, code=INTEGER)
    after = _table(
        "grows",
        ["id"],
        id=BIGINT,
        n=BIGINT,
        day=TIMESTAMP,
        total=Type(Kind.DECIMAL, 14, 4),
        code=TEXT,
        note=TEXT,
    )
    runs.load(before, ["1\t7\t2026-01-01\t1.50\t42", "2\t\\N\t\\N\t\\N\t\\N"])
    widened = {c.raw_name: c.type for c in after.columns if c.raw_name != "note"}
    lines = [
        "1\t7\t2026-01-01 00:00:00\t1.5000\t42\t\\N",
        "3\t8\t2026-01-02 01:00:00\t0.0001\tx\tnew",
    ]
    changes = runs.load(after, lines, evolve=([after.columns[-1]], widened))
    assert changes == Changes(inserted=1, deleted=1, live=2)
    # Values that are the same in the wider type are no change.
    assert runs.days(after) == {1: (1, None), 2: (2, 2), 3: (2, None)}
    assert runs.held(after) == lines
    destination = runs.begun()
    types = destination.columns("grows") or {}
    destination.close()
    assert {name: types[name] for name in widened} == widened


def test_a_column_that_the_source_dropped_becomes_null(runs: Runs) -> None:
    runs.load(ORDERS, ["1\tNew\t1.00", "2\tNew\t2.00"])
    narrow = replace(ORDERS, columns=ORDERS.columns[:2])
    assert runs.load(narrow, ["1\tNew", "2\tSent"]) == Changes(updated=2, live=2)
    assert runs.held(ORDERS) == ["1\tNew\t\\N", "2\tSent\t\\N"]


# -- what a run leaves to the next ----------------------------------------------------------------


def test_the_newest_stamp_and_the_schemas_are_found_again(runs: Runs) -> None:
    def change(batch: str, column: str, declared: str | None) -> Record:
        return Record(
            "_load_schema_changes",
            {
                "batch_id": batch,
                "table_name": "orders",
                "column_name": column,
                "declared_after": declared,
            },
        )

    runs.load(ORDERS, [], records=[change("1", "id", "int"), change("1", "total", "int")])
    runs.load(ORDERS, [], records=[change("2", "id", "bigint"), change("2", "total", None)])
    destination = runs.begun()
    assert destination.last_loaded_at() == datetime(2026, 1, 2)
    assert destination.schemas() == {"orders": {"id": "bigint"}}
    destination.close()


def test_state_is_found_again(runs: Runs) -> None:
    ranges = {n: Digest(n + 1, f"digest {n}") for n in (-1, 0, 1, 2)}
    blocks = {-1: Digest(3, "block"), 1: Digest(5, "another")}
    first = State("shape", 100, Digests(ranges, blocks))
    ranges |= {1: Digest(9, "new"), 5: Digest(1, "fresh")}
    del ranges[2]
    second = State("shape", 100, Digests(ranges, {-1: blocks[-1], 5: Digest(1, "fresh")}))
    third = State("another shape", 50, Digests({0: Digest(1, "x")}))
    before: State | None = None
    for now in (first, second, third, None):
        destination, stamp = runs.begun(), runs.next_stamp()
        held = destination.state("orders")
        assert held == before
        assert (held and held.digests.blocks) == (before and before.digests.blocks)
        runs.stage(destination, ORDERS, stamp, [])
        destination.begin_publish()
        destination.publish(ORDERS, stamp, keyed=True)
        destination.save_state("orders", before, now)
        destination.save_state("other", None if before else first, first)
        destination.commit([runs.record(stamp, "succeeded")])
        destination.close()
        before = now
    destination = runs.begun()
    assert destination.state("orders") is None
    assert destination.state("other") == first
    destination.close()


def test_digests_of_keys_that_were_read_are_forgotten(runs: Runs) -> None:
    ranges = {n: Digest(n + 2, f"digest {n}") for n in (-1, 0, 1, 2, 5)}
    blocks = {-1: Digest(3, "block"), 1: Digest(5, "another"), 5: Digest(1, "last")}
    runs.load(ORDERS, [])
    for table, of in (("orders", Digests(ranges, blocks)), ("events", Digests(ranges, {}))):
        # Ranges -1, 1, and 3, which is new; of a table without digests, nothing.
        keys = [(b"-150",), (b"101", b"x"), (b"199", b"y"), (b"320",)]
        for is_known in (False, True):
            destination, stamp = runs.begun(), runs.next_stamp()
            destination.begin_publish()
            if is_known:
                destination.forget_digests(table, keys)
            else:
                destination.save_state(table, None, State("shape", 100, of))
            destination.forget_digests("lines", [(b"a text",)])
            destination.commit([runs.record(stamp, "succeeded")])
            destination.close()
        destination = runs.begun()
        state = destination.state(table)
        destination.close()
        assert state is not None
        assert {n for n, digest in state.digests.items() if not digest.value} == {-1, 1}
        assert {n: digest.rows for n, digest in state.digests.items()} == {
            n: digest.rows for n, digest in ranges.items()
        }
        forgotten = {n for n, digest in state.digests.blocks.items() if not digest.value}
        assert forgotten == ({-1, 1} if of.blocks else set())


def test_the_newest_value_of_a_column(runs: Runs) -> None:
    table = _table("grows", ["id"], id=INTEGER, day=DATE, at=TIMESTAMP)
    rows = [f"{n}\t2026-03-0{n}\t2026-03-0{n} 00:00:0{n}.5" for n in (1, 2, 3)]
    runs.load(table, [*rows, "9\t2027-01-01\t2027-01-01 00:00:00"])
    runs.load(table, rows)  # what has a tombstone does not count
    destination = runs.begun()
    number, day, at = table.columns
    newest = [
        destination.newest("grows", column, overlap)
        for column, overlap in ((number, 0), (number, 5), (day, 0), (at, 0), (at, 60))
    ]
    a_week_before = destination.newest("grows", day, 7)
    destination.close()
    assert newest == ["3", "-2", "2026-03-03", "2026-03-03 00:00:03.5", "2026-03-02 23:59:03.5"]
    # With or without a time of midnight.
    assert (a_week_before or "").removesuffix(" 00:00:00") == "2026-02-24"
    runs.load(table, [])
    destination = runs.begun()
    assert destination.newest("grows", number, 0) is None
    destination.close()


# -- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("recorded", [True, False])
def test_a_run_that_fails_leaves_everything_as_it_was(runs: Runs, recorded: bool) -> None:
    runs.load(ORDERS, ["1\tNew\t1.00", "2\tNew\t1.00"])
    before = runs.tables(), runs.days(ORDERS), runs.held(ORDERS)
    destination, stamp = runs.begun(), runs.next_stamp()
    runs.stage(destination, ORDERS, stamp, ["1\tSent\t1.00"])
    runs.stage(destination, EVENTS, stamp, ["a\t1"])
    destination.begin_publish()
    destination.evolve("orders", [Column("note", "note", "text", TEXT)], {"id": BIGINT})
    destination.publish(ORDERS, stamp, keyed=True)
    destination.publish(EVENTS, stamp, keyed=False)
    destination.save_state("orders", None, State("shape", 1, Digests({1: Digest(1, "x")})))
    if recorded:
        destination.record_failure([runs.record(stamp, "failed")])
    destination.close()
    assert (runs.tables(), runs.days(ORDERS), runs.held(ORDERS)) == before
    statuses = runs.ask("select status from raw._load_runs order by batch_id")
    assert statuses == [("succeeded",), ("failed",)][: 1 + recorded]
    destination = runs.begun()
    assert destination.state("orders") is None
    assert (destination.columns("orders") or {})["id"] == INTEGER
    destination.close()
    # Nor is it in the way of the next run.
    assert runs.load(ORDERS, ["1\tSent\t1.00"]) == Changes(updated=1, deleted=1, live=1)


def test_errors_are_sentences(runs: Runs) -> None:
    runs.load(ORDERS, [])
    destination, stamp = runs.begun(), runs.next_stamp()
    runs.stage(destination, ORDERS, stamp, [])
    destination.begin_publish()
    with pytest.raises(LoadError) as caught:
        destination.evolve("nowhere", [Column("note", "note", "text", TEXT)], {})
    destination.close()
    said = str(caught.value)
    assert "changing the columns of nowhere: " in said
    assert said.endswith(".") and not said.endswith("..")
    assert "\n" not in said and "p@ss" not in said
