"""Only what changed travels and is written; the warehouse mirrors the source all the same."""

import hmac
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conftest import WAREHOUSES, Ask, Open
from loader import (
    LoadError,
    LoadResult,
    Options,
    TableOptions,
    UsageError,
    load,
    ranges,
)
from loader.ranges import Digest, Partition, runs
from loader.sources.mysql import MySQLSource
from support.one_run import own
from tools.servers import MariaDBServer, Server

Warehouse = tuple[Open, Ask]


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges of a few rows and blocks of a few ranges, so that small tables have many."""
    monkeypatch.setattr(ranges, "ROWS_PER_RANGE", 5)
    monkeypatch.setattr(ranges, "FEWEST_ROWS", 1)
    monkeypatch.setattr(ranges, "ROWS_PER_BLOCK", 20)


@pytest.fixture(params=["mariadb", "postgres"])
def source(request: pytest.FixtureRequest) -> Iterator[tuple[str, Callable[[str], object]]]:
    """A database of each server that digests key ranges, and how to change it."""
    server: Server = request.getfixturevalue(request.param)
    name = own(f"source_{abs(hash(request.node.name)) % 10**8}")
    url = server.create_database(name)
    yield url, lambda sql: server.execute(sql, name)


def _modes(result: LoadResult) -> dict[str, str]:
    return {entry.table.raw_name: entry.plan.mode for entry in result.tables}


@pytest.mark.parametrize(
    ("rounds", "least_diffs", "warehouse"),
    [
        (10, 3, "duckdb"),
        *(pytest.param(30, 20, kind, marks=pytest.mark.long) for kind in WAREHOUSES),
    ],
    indirect=["warehouse"],
)
def test_random_rounds(rounds: int, least_diffs: int, source: Any, warehouse: Warehouse) -> None:
    """Rounds of inserts, updates, deletes and key changes, each with its own account."""
    url, execute = source
    open_warehouse, query = warehouse
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    execute("create table t (k bigint not null, j int not null, v varchar(40), primary key (k, j))")
    rows: dict[tuple[int, int], str | None] = {}
    stamps: dict[tuple[int, int], Any] = {}
    gone: dict[tuple[int, int], Any] = {}

    def put(key: tuple[int, int], value: str | None) -> None:
        text = "null" if value is None else f"'{value}'"
        execute(f"insert into t values ({key[0]}, {key[1]}, {text})")
        rows[key] = value

    for n in range(60):
        put((rng.randint(-40, 200), n), f"first {n}")
    diffs = 0
    for number in range(rounds):
        before = dict(rows)
        for count in range(rng.choice([0, 0, 1, 1, 2, 3, 5])):
            kind = rng.choice(["insert", "append", "update", "delete", "rekey", "ends"])
            key = rng.choice(sorted(rows))
            if kind == "insert":
                key = (rng.randint(-60, 220), 1000 + number * 10 + count)
                put(key, rng.choice([None, "", "x\ty", "a\nb"]))
            elif kind == "append":
                key = (max(rows)[0] + rng.randint(1, 9), 0)
                put(key, "appended")
            elif kind == "update":
                rows[key] = f"round {number}"
                execute(f"update t set v = 'round {number}' where k = {key[0]} and j = {key[1]}")
            elif kind == "rekey":
                new = (key[0] + rng.randint(-9, 9), 5000 + number * 10 + count)
                execute(
                    f"update t set k = {new[0]}, j = {new[1]} where k = {key[0]} and j = {key[1]}"
                )
                rows[new] = rows.pop(key)
            else:
                key = rng.choice([min(rows), max(rows)]) if kind == "ends" else key
                execute(f"delete from t where k = {key[0]} and j = {key[1]}")
                del rows[key]
        result = load(url, open_warehouse())
        diffs += _modes(result)["t"] == "diff"
        # What went and came back the same within a round did not change.
        loaded = before if number else {}
        touched = {
            key
            for key in loaded.keys() | rows.keys()
            if (key in loaded, loaded.get(key)) != (key in rows, rows.get(key))
        }
        for key in touched:
            (stamps if key in rows else gone)[key] = result.started_at
            (gone if key in rows else stamps).pop(key, None)
        held = query("select k, j, v, _loaded_at, _deleted_at from raw.t")
        live = {(k, j): (v, at) for k, j, v, at, deleted in held if deleted is None}
        dead = {(k, j): deleted for k, j, _, _, deleted in held if deleted is not None}
        assert live == {key: (value, stamps[key]) for key, value in rows.items()}, f"round {number}"
        assert {key: at for key, at in dead.items() if key in gone} == {
            key: at for key, at in gone.items() if key in dead
        }
        if not touched and number:
            changes = result.tables[0].changes
            assert (changes.inserted, changes.updated, changes.deleted) == (0, 0, 0)
            assert result.tables[0].bytes_read == 0
    # Most rounds must have gone the way that this test is about; of few rounds, some.
    assert diffs >= least_diffs


def test_a_change_lets_only_its_range_travel(source: Any, warehouse: Warehouse) -> None:
    url, execute = source
    open_warehouse, query = warehouse
    execute("create table t (id int primary key, v varchar(40))")
    execute("insert into t values " + ", ".join(f"({n}, 'row {n}')" for n in range(1, 1001)))
    first = load(url, open_warehouse())
    assert first.tables[0].plan.reason == "first load"
    execute("update t set v = 'new' where id = 500")
    second = load(url, open_warehouse())
    (entry,) = second.tables
    assert entry.plan.mode == "diff"
    assert 1 <= entry.rows_read <= 5
    assert (entry.changes.updated, entry.changes.live) == (1, 1000)
    before = query("select * from raw._load_ranges order by number")
    blocks = query("select * from raw._load_blocks order by number")
    third = load(url, open_warehouse())
    assert third.tables[0].rows_read == 0
    assert query("select * from raw._load_ranges order by number") == before
    assert query("select * from raw._load_blocks order by number") == blocks
    # A new column gives every row another shape: all is read once, then digests are of use again.
    execute("alter table t add column extra int")
    assert _modes(load(url, open_warehouse())) == {"t": "full"}
    assert _modes(load(url, open_warehouse())) == {"t": "diff"}


def test_only_blocks_that_changed_are_looked_into(
    mariadb: MariaDBServer, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by a loader that finds the ranges of an older one, which had no blocks."""
    open_warehouse, query = warehouse
    name = own(f"blocks_{abs(hash(str(open_warehouse))) % 10**8}")
    url = mariadb.create_database(name)
    mariadb.execute(
        "create table t (id int primary key, v varchar(40));"
        "insert into t select seq, concat('row ', seq) from seq_1_to_1000",
        name,
    )
    asked = []
    look = MySQLSource._digests_of_ranges

    def looking(self: Any, table: Any, partition: Any, where: str) -> Any:
        asked.append(where)
        return look(self, table, partition, where)

    monkeypatch.setattr(MySQLSource, "_digests_of_ranges", looking)

    def run() -> tuple[int, int]:
        asked.clear()
        (entry,) = load(url, open_warehouse()).tables
        return entry.rows_read, len(asked)

    assert run() == (1000, 0)
    assert run() == (0, 0)
    mariadb.execute("update t set v = 'new' where id = 500", name)
    assert run() == (5, 1)
    mariadb.execute("delete from t where id between 300 and 399", name)
    assert [run()[0], run()] == [0, (0, 0)]
    mariadb.execute("insert into t select seq, 'late' from seq_1001_to_1100", name)
    # The last block is cut in several, each of which is looked into once more.
    assert [run(), run()[0], run()] == [(101, 1), 0, (0, 0)]
    query("drop table raw._load_blocks")
    mariadb.execute("update t set v = 'newer' where id = 700", name)
    rows, looks = run()
    assert (rows, looks > 40) == (5, True)
    assert run() == (0, 0)
    (live,) = query("select count(*), min(v), max(v) from raw.t where _deleted_at is null")
    assert live == (1000, "late", "row 999")


@pytest.mark.parametrize("warehouse", ["duckdb"], indirect=True)
def test_tabs_and_line_breaks_in_text_hide_no_change(
    mariadb: MariaDBServer, warehouse: Warehouse
) -> None:
    """Blocks are digested without escaping them first, so that two rows could look alike."""
    open_warehouse, query = warehouse
    name = own("separators")
    url = mariadb.create_database(name)
    mariadb.execute(
        "create table t (id int primary key, a varchar(40) not null, b varchar(40));"
        "insert into t select seq, concat('row ', seq), null from seq_1_to_1000",
        name,
    )
    # Each is another row, but without its escapes some look like the next one or like a null.
    texts = [
        (r"x\ty", "z"),
        ("x", r"y\tz"),
        (r"x\\ty", "z"),
        (r"x\ny", r"\r"),
        (r"x\\ny", r"\\r"),
        (r"x\r", r"\\N"),
        (r"x\r", None),
        ("x", r"z\n501\trow 501\t\\N"),
        (r"\\N", r"\\x5C"),
        (r"\\\\N", r"\\"),
    ]

    def run() -> tuple[str, int, int]:
        (entry,) = load(url, open_warehouse()).tables
        return entry.plan.mode, entry.rows_read, entry.changes.updated

    assert run() == ("full", 1000, 0)
    for a, b in texts:
        value = "null" if b is None else f"'{b}'"
        mariadb.execute(f"update t set a = '{a}', b = {value} where id = 500", name)
        assert run() == ("diff", 5, 1), (a, b)
        assert run() == ("diff", 0, 0), (a, b)
        held = query("select a, b from raw.t where id = 500")
        assert held == mariadb.execute("select a, b from t where id = 500", name), (a, b)
    # The same when most blocks have such a text, and when they are read for the first time.
    mariadb.execute("update t set b = concat('y\\r', id) where id % 10 = 0", name)
    assert run()[2] == 100
    assert run() == ("diff", 0, 0)
    query("drop schema raw cascade")
    assert run() == ("full", 1000, 0)
    assert run() == ("diff", 0, 0)
    expected = mariadb.execute("select id, a, b from t order by id", name)
    assert query("select id, a, b from raw.t order by id") == expected


def test_mostly_changed_is_read_in_full(source: Any, warehouse: Warehouse) -> None:
    url, execute = source
    open_warehouse, _ = warehouse
    execute("create table t (id int primary key, v varchar(40))")
    execute("insert into t values " + ", ".join(f"({n}, 'row {n}')" for n in range(1, 101)))
    load(url, open_warehouse())
    execute("update t set v = 'new'")
    result = load(url, open_warehouse())
    assert _modes(result) == {"t": "full"}
    assert result.tables[0].changes.updated == 100
    assert load(url, open_warehouse()).tables[0].rows_read == 0


def test_case_and_collation(mariadb: MariaDBServer, warehouse: Warehouse) -> None:
    """A key that the source's collation sees as the same is another row here."""
    open_warehouse, query = warehouse
    name = own(f"collation_{abs(hash(str(open_warehouse))) % 10**8}")
    url = mariadb.create_database(name)
    mariadb.execute(
        "create table t (n int, k varchar(9) collate utf8mb4_general_ci, v varchar(9)"
        " collate utf8mb4_general_ci, primary key (n, k)); insert into t values (1, 'a', 'x')",
        name,
    )
    load(url, open_warehouse())
    mariadb.execute("update t set v = 'X'", name)
    assert load(url, open_warehouse()).tables[0].changes.updated == 1
    mariadb.execute("update t set k = 'A'", name)
    result = load(url, open_warehouse(), Options(max_delete_share=1))
    assert (result.tables[0].changes.inserted, result.tables[0].changes.deleted) == (1, 1)
    assert query("select k, v from raw.t where _deleted_at is null") == [("A", "X")]


@pytest.mark.parametrize("kind", ["int unsigned", "bigint unsigned", "tinyint", "bigint"])
def test_keys_at_the_ends_of_their_type(
    kind: str, mariadb: MariaDBServer, warehouse: Warehouse
) -> None:
    open_warehouse, query = warehouse
    name = own(f"ends_{kind.replace(' ', '_')}_{abs(hash(str(open_warehouse))) % 10**8}")
    url = mariadb.create_database(name)
    ends = {
        "int unsigned": (0, 2**32 - 1),
        "bigint unsigned": (0, 2**64 - 1),
        "tinyint": (-128, 127),
        "bigint": (-(2**63), 2**63 - 1),
    }[kind]
    keys = [ends[0], ends[0] + 1, 7, ends[1] - 1, ends[1]]
    mariadb.execute(
        f"create table t (k {kind} primary key, v int);"
        f" insert into t values {', '.join(f'({key}, 0)' for key in keys)}",
        name,
    )
    load(url, open_warehouse())
    mariadb.execute(f"update t set v = 1 where k = {ends[1]}", name)
    result = load(url, open_warehouse())
    assert result.tables[0].changes.updated == 1
    mariadb.execute(f"delete from t where k = {ends[0]}", name)
    result = load(url, open_warehouse())
    assert (result.tables[0].changes.deleted, result.tables[0].changes.live) == (1, 4)
    assert [
        int(k) for (k,) in query("select k from raw.t where _deleted_at is null order by k")
    ] == (keys[1:])


@pytest.mark.parametrize("warehouse", ["duckdb", "postgres"], indirect=True)
def test_ranges_wider_than_a_packet(small_mariadb: MariaDBServer, warehouse: Warehouse) -> None:
    """Rows that one packet cannot hold together still arrive, and changes are still found."""
    open_warehouse, query = warehouse
    name = own(f"packets_{abs(hash(str(open_warehouse))) % 10**8}")
    url = small_mariadb.create_database(name)
    small_mariadb.execute(
        "create table t (a int, b int, v longtext, primary key (a, b));"
        "insert into t select 1, seq, repeat(char(65 + seq), 3000000) from seq_1_to_7;"
        "insert into t select seq, 0, 'short' from seq_2_to_40",
        name,
    )
    load(url, open_warehouse())
    assert query("select count(*), sum(length(v)) from raw.t") == [(46, 21_000_195)]
    small_mariadb.execute("update t set v = repeat('z', 3000001) where a = 1 and b = 7", name)
    result = load(url, open_warehouse())
    assert result.tables[0].changes.updated == 1
    assert query("select length(v) from raw.t where a = 1 and b = 7") == [(3_000_001,)]


@pytest.mark.parametrize("warehouse", ["duckdb", "postgres"], indirect=True)
def test_long_texts_full_of_escapes(mariadb: MariaDBServer, warehouse: Warehouse) -> None:
    """MariaDB would need minutes to escape such a text; it is read as it is, and found changed."""
    open_warehouse, query = warehouse
    name = own(f"escapes_{abs(hash(str(open_warehouse))) % 10**8}")
    url = mariadb.create_database(name)
    mariadb.execute(
        "create table t (id int primary key, v longtext);"
        "insert into t select seq, 'short' from seq_1_to_50",
        name,
    )
    load(url, open_warehouse())
    mariadb.execute("update t set v = repeat('a\\\\\n', 2000000) where id = 7", name)
    for updated in (1, 0):
        result = load(url, open_warehouse())
        assert result.tables[0].changes.updated == updated
    assert query("select length(v) from raw.t where id = 7") == [(6_000_000,)]


def test_personal_data_is_hashed(source: Any, warehouse: Warehouse) -> None:
    """Equal values stay equal, null stays null, nothing else changes; another salt changes all."""
    url, execute = source
    open_warehouse, query = warehouse
    execute("create table t (id int primary key, phone varchar(20), v int)")
    execute("insert into t values (1, '0123', 1), (2, '0123', 2), (3, null, 3), (4, '9', 4)")
    seen = []
    for salt in ("salt", "salt", "pepper"):
        load(url, open_warehouse(), Options(hash_columns=["t.phone"], hash_salt=salt))
        seen.append([row[0] for row in query("select phone from raw.t order by id")])
    first, again, other = seen
    assert first == again
    assert first[0] == first[1] == hmac.new(b"salt", b"0123", "sha256").hexdigest()
    assert first[2] is None
    assert first[3] not in (None, "9", first[0])
    assert other[2] is None
    assert not {*first[:2], first[3]} & {*other[:2], other[3]}
    assert query("select v from raw.t order by id") == [(1,), (2,), (3,), (4,)]
    with pytest.raises(UsageError, match="LOAD_HASH_SALT"):
        load(url, open_warehouse(), Options(hash_columns=["phone"]))
    with pytest.raises(UsageError, match="--exclude-columns nope"):
        load(url, open_warehouse(), Options(exclude_columns=["nope"]))


def test_append_reads_only_new_rows(source: Any, warehouse: Warehouse) -> None:
    url, execute = source
    open_warehouse, query = warehouse
    execute("create table log (at timestamp(6) not null, message varchar(40))")
    execute("insert into log values ('2026-01-01 00:00:00.000001', 'a'), ('2026-01-02', 'b')")
    options = Options(tables={"log": TableOptions("append", cursor="at")})
    load(url, open_warehouse(), options)
    execute("insert into log values ('2026-01-02 00:00:00.5', 'c'), ('2026-01-03', 'd')")
    execute("delete from log where message = 'a'")
    result = load(url, open_warehouse(), options)
    assert (result.tables[0].rows_read, result.tables[0].changes.inserted) == (2, 2)
    # Append does not look back: that is what it was asked for.
    assert query("select message from raw.log where _deleted_at is null order by 1") == [
        ("a",),
        ("b",),
        ("c",),
        ("d",),
    ]
    with pytest.raises(UsageError, match="no column nope"):
        load(url, open_warehouse(), Options(default=TableOptions("append", cursor="nope")))


def test_append_with_overlap(source: Any, warehouse: Warehouse) -> None:
    url, execute = source
    open_warehouse, query = warehouse
    execute("create table t (id int primary key, v varchar(9))")
    execute("insert into t values (1, 'a'), (2, 'b'), (3, 'c')")
    options = Options(default=TableOptions("append", overlap=2))
    load(url, open_warehouse(), options)
    execute("update t set v = 'new'")
    execute("insert into t values (4, 'd')")
    result = load(url, open_warehouse(), options)
    assert (result.tables[0].changes.updated, result.tables[0].changes.inserted) == (2, 1)
    assert query("select v from raw.t order by id") == [("a",), ("new",), ("new",), ("d",)]


def test_deletes_are_guarded(source: Any, warehouse: Warehouse) -> None:
    url, execute = source
    open_warehouse, query = warehouse
    execute("create table t (id int primary key)")
    execute("insert into t values (1), (2), (3), (4)")
    load(url, open_warehouse())
    execute("delete from t where id > 1")
    with pytest.raises(LoadError, match="3 of 4 rows of t are gone"):
        load(url, open_warehouse())
    assert query("select count(*) from raw.t where _deleted_at is null") == [(4,)]
    load(url, open_warehouse(), Options(max_delete_share=0.75))
    assert query("select count(*) from raw.t where _deleted_at is null") == [(1,)]


def test_somebody_elses_writes_are_noticed(source: Any, warehouse: Warehouse) -> None:
    url, execute = source
    open_warehouse, query = warehouse
    execute("create table t (id int primary key, v int)")
    execute("insert into t values " + ", ".join(f"({n}, 0)" for n in range(100)))
    load(url, open_warehouse())
    query("delete from raw.t where id = 90")
    execute("update t set v = 1 where id = 5")
    with pytest.raises(LoadError, match="--mode full"):
        load(url, open_warehouse())
    load(url, open_warehouse(), Options(default=TableOptions("full")))
    assert query("select count(*), sum(v) from raw.t where _deleted_at is null") == [(100, 1)]


def test_diff_that_cannot_be(source: Any, warehouse: Warehouse) -> None:
    url, execute = source
    open_warehouse, _ = warehouse
    execute("create table t (id varchar(9) primary key)")
    with pytest.raises(UsageError, match="--mode diff"):
        load(url, open_warehouse(), Options(default=TableOptions("diff")))


def test_numbers_and_bounds() -> None:
    """Every key lies within the bounds of its range, and the ranges leave no gap."""
    for width in (1, 2, 7, 300):
        partition = Partition(column=None, width=width)  # type: ignore[arg-type]
        for key in range(-1000, 1000):
            low, high = partition.bounds(partition.number(key))
            assert low <= key <= high
        for number in range(-3, 3):
            assert partition.bounds(number)[1] + 1 == partition.bounds(number + 1)[0]
    assert list(runs([5, 1, 2, 9, 3])) == [(1, 3), (5, 5), (9, 9)]
    assert ranges.changed({1: Digest(1, "a"), 2: Digest(1, "b")}, {1: Digest(1, "a")}) == {2}
    assert ranges.changed({1: Digest(1, "")}, {1: Digest(1, "")}) == {1}
