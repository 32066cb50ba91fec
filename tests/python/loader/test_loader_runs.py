"""What a load leaves in the warehouse, run after run, and what it says when it cannot go on."""

import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

import loader.destinations.duckdb
import loader.destinations.postgres
import loader.destinations.redshift.destination
from loader import DuckDBDestination, LoadError, Options, UsageError, load
from loader.destinations import duckdb_memory
from loader.errors import BusyError
from loader.urls import parse_url, with_password
from support.loader_command import MODULE, SCRIPT, Ran, as_process, in_process
from support.one_run import own
from tools.servers import MariaDBServer, PostgresServer


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A small SQLite source that tests change; its URL is `sqlite:///` and `shop.sqlite`."""
    connection = sqlite3.connect(tmp_path / "shop.sqlite", isolation_level=None)
    connection.executescript(
        "create table orders (id integer not null primary key, status text, total decimal(10,2));"
        "insert into orders values (1, 'Shipped', '10.10'), (2, 'On Hold', null), (3, '', '0.30');"
        "create table lines (order_id int not null, n int not null, sku text,"
        " primary key (order_id, n));"
        "insert into lines values (1, 1, 'a'), (1, 2, 'b'), (2, 1, 'a');"
        "create table log (message text);"
        "insert into log values ('twice'), ('twice'), ('once'), (null);"
        "create view open_orders as select * from orders where status = 'On Hold';"
        "create table vacant (id integer primary key);"
    )
    yield connection
    connection.close()


def _url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'shop.sqlite'}"


def test_rows_keep_their_stamps_until_they_change(
    shop: sqlite3.Connection, tmp_path: Path, warehouse: Any
) -> None:
    open_warehouse, query = warehouse
    load(_url(tmp_path), open_warehouse())
    (first,) = query("select distinct _loaded_at from raw.orders")[0]

    shop.execute("update orders set total = '10.11' where id = 1")
    shop.execute("delete from orders where id = 2")
    shop.execute("insert into orders values (4, 'New', '1')")
    shop.execute("delete from log where rowid = 1")
    result = load(_url(tmp_path), open_warehouse())
    changes = {e.table.raw_name: e.changes for e in result.tables}
    orders = changes["orders"]
    assert (orders.inserted, orders.updated, orders.deleted, orders.live) == (1, 1, 1, 3)
    # Of two equal rows one is gone: one tombstone, the other row untouched.
    assert (changes["log"].inserted, changes["log"].deleted, changes["log"].live) == (0, 1, 3)
    assert (changes["lines"].inserted, changes["lines"].updated, changes["lines"].deleted) == (
        0,
        0,
        0,
    )
    rows = query(
        "select id, cast(total as varchar(20)), _deleted_at is null, _loaded_at from raw.orders"
        " order by id"
    )
    second = result.started_at
    assert rows == [
        (1, "10.11", True, second),
        (2, None, False, second),
        (3, "0.30", True, first),
        (4, "1.00", True, second),
    ]

    shop.execute("insert into orders values (2, 'On Hold', null)")
    result = load(_url(tmp_path), open_warehouse(), Options(select=["orders"]))
    assert result.tables[0].changes.inserted == 1
    assert query("select _deleted_at, _loaded_at from raw.orders where id = 2") == [
        (None, result.started_at)
    ]


def test_each_run_leaves_its_account(
    shop: sqlite3.Connection, tmp_path: Path, warehouse: Any
) -> None:
    open_warehouse, query = warehouse
    shop.execute("insert into orders values (9, 'x', 'not money')")
    load(_url(tmp_path), open_warehouse())
    assert query(
        "select status, tables, rows_read, rows_inserted, issues, error from raw._load_runs"
    ) == [("succeeded", 4, 11, 11, 1, None)]
    assert query(
        "select table_name, rows_read, rows_live, status from raw._load_tables order by 1"
    ) == [
        ("lines", 3, 3, "succeeded"),
        ("log", 4, 4, "succeeded"),
        ("orders", 4, 4, "succeeded"),
        ("vacant", 0, 0, "succeeded"),
    ]
    assert query(
        "select table_name, column_name, value_count, sample_key from raw._load_issues"
    ) == [("orders", "total", 1, "9")]

    # A run that fails leaves its account too, and nothing else.
    with pytest.raises(LoadError, match="--strict"):
        load(_url(tmp_path), open_warehouse(), Options(strict=True))
    assert query("select status from raw._load_runs order by batch_id") == [
        ("succeeded",),
        ("failed",),
    ]
    assert query("select count(*) from raw._load_tables where status = 'failed'") == [(4,)]


def test_an_unreachable_source_is_on_record(
    shop: sqlite3.Connection, tmp_path: Path, warehouse: Any
) -> None:
    open_warehouse, query = warehouse
    load(_url(tmp_path), open_warehouse())
    with pytest.raises(LoadError, match="no SQLite file"):
        load(f"sqlite:///{tmp_path / 'gone.sqlite'}", open_warehouse())
    assert query("select status, error like '%gone.sqlite%' from raw._load_runs order by 1") == [
        ("failed", True),
        ("succeeded", None),
    ]


def test_views_on_raw_survive(shop: sqlite3.Connection, tmp_path: Path, warehouse: Any) -> None:
    open_warehouse, query = warehouse
    load(_url(tmp_path), open_warehouse())
    query("create view raw.v as select * from raw.orders")
    shop.execute("insert into orders values (5, 'New', '1')")
    load(_url(tmp_path), open_warehouse())
    assert query("select count(*) from raw.v") == [(4,)]


def test_selection(shop: sqlite3.Connection, tmp_path: Path, warehouse: Any) -> None:
    open_warehouse, query = warehouse
    result = load(_url(tmp_path), open_warehouse(), Options(select=["O*"], exclude=["orders"]))
    assert [e.table.name for e in result.tables] == ["open_orders"]
    assert query("select id from raw.open_orders") == [(2,)]
    with pytest.raises(UsageError, match=r"invoices: .* has no such table"):
        load(_url(tmp_path), open_warehouse(), Options(select=["orders", "invoices"]))


def test_a_view_that_was_loaded_once_is_not_gone(
    shop: sqlite3.Connection, tmp_path: Path, warehouse: Any
) -> None:
    open_warehouse, _ = warehouse
    load(_url(tmp_path), open_warehouse(), Options(select=["*"]))
    assert load(_url(tmp_path), open_warehouse()).schema_changes == []
    shop.execute("drop view open_orders")
    changes = load(_url(tmp_path), open_warehouse()).schema_changes
    assert {str(change) for change in changes if change.column is None} == {
        "open_orders: table dropped"
    }


def test_strange_names(mariadb: MariaDBServer, warehouse: Any) -> None:
    open_warehouse, query = warehouse
    name = own(f"names_{abs(hash(str(open_warehouse))) % 10**8}")
    url = mariadb.create_database(name)
    long = "n" * 64
    for table in ("select", "with space", "end_", "Grüße", "qu\"o'te%s", long):
        mariadb.execute(
            f"create table `{table}` (`order` int primary key, `a b` int, `x_` int, `Ünï` int,"
            f' `"` int, `%s` int, `{long}` int); insert into `{table}` values (1,2,3,4,5,6,7)',
            name,
        )
    load(url, open_warehouse())
    for table in ("select", "with space", "end_", "grüße", 'qu""o\'te%s'):
        assert query(f'select "order", "a b", x_, "ünï", """", "%s" from raw."{table}"') == [
            (1, 2, 3, 4, 5, 6)
        ]
    ((found,),) = query(
        "select table_name from information_schema.tables where table_schema = 'raw'"
        " and table_name like 'nnn%'"
    )
    # PostgreSQL would cut the name silently; a digest keeps two such names apart.
    assert found == long or (len(found) == 63 and found.startswith("n" * 54 + "_"))
    again = load(url, open_warehouse())
    assert all(e.changes.inserted == e.changes.updated == 0 for e in again.tables)
    assert again.schema_changes == []


def test_names_that_fold_to_one(mariadb: MariaDBServer, tmp_path: Path) -> None:
    url = mariadb.create_database(own("folding"))
    mariadb.execute("create table `Orders` (id int); create table orders (id int)", own("folding"))
    with pytest.raises(LoadError, match=r"tables (orders and Orders|Orders and orders)"):
        load(url, DuckDBDestination("raw", tmp_path / "w.duckdb"))
    assert not (tmp_path / "w.duckdb").exists()
    result = load(url, DuckDBDestination("raw", tmp_path / "w.duckdb"), Options(exclude=["Orders"]))
    assert [e.table.name for e in result.tables] == ["orders"]


def test_columns_that_fold_to_one(postgres: PostgresServer, tmp_path: Path) -> None:
    url = postgres.create_database(own("folding_columns"))
    postgres.execute('create table t (id int, "Total" int, total int)', own("folding_columns"))
    with pytest.raises(LoadError, match="columns Total and total of t"):
        load(url, DuckDBDestination("raw", tmp_path / "w.duckdb"))


def test_a_table_that_is_not_the_loaders_is_left_alone(
    shop: sqlite3.Connection, tmp_path: Path, warehouse: Any
) -> None:
    open_warehouse, query = warehouse
    query("create schema raw")
    query("create table raw.orders as select 42 as mine")
    with pytest.raises(LoadError, match=r"orders .* was not made by this loader"):
        load(_url(tmp_path), open_warehouse())
    assert query("select mine from raw.orders") == [(42,)]


def test_what_is_read_back_must_be_what_was_sent(
    shop: sqlite3.Connection, tmp_path: Path, warehouse: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A destination that bends one value on its way in is caught before anything is visible."""
    open_warehouse, query = warehouse
    load(_url(tmp_path), open_warehouse())
    shop.execute("update orders set total = '99.99' where id = 1")
    destination = open_warehouse()
    stage = destination.stage

    def bending(table: Any, blocks: Any) -> Any:
        tally = stage(table, blocks)
        if table.raw_name == "orders":
            destination._run(f"update {destination._staged(table)} set total = 99.98 where id = 1")
        return tally

    monkeypatch.setattr(destination, "stage", bending)
    with pytest.raises(LoadError, match="orders does not read back as it was sent"):
        load(_url(tmp_path), destination)
    assert query("select cast(total as varchar(9)) from raw.orders where id = 1") == [("10.10",)]


def test_a_table_without_snapshots_is_named(mariadb: MariaDBServer, tmp_path: Path) -> None:
    url = mariadb.create_database(own("no_snapshot"))
    mariadb.execute(
        "create table a (id int) engine = MyISAM; create table b (id int) engine = InnoDB",
        own("no_snapshot"),
    )
    result = load(url, DuckDBDestination("raw", tmp_path / "w.duckdb"))
    assert len(result.warnings) == 1
    assert "a has the engine MyISAM" in result.warnings[0]


def test_one_snapshot_of_all_tables(mariadb: MariaDBServer, tmp_path: Path) -> None:
    """Rows that arrive while tables are being read belong to the next run."""
    url = mariadb.create_database(own("snapshot"))
    mariadb.execute(
        "create table a (id int primary key); create table b (id int primary key);"
        "insert into a values (1); insert into b values (1)",
        own("snapshot"),
    )
    destination = DuckDBDestination("raw", tmp_path / "w.duckdb")
    create_staging = destination.create_staging

    def disturbed(table: Any, stamp: Any) -> None:
        mariadb.execute(f"insert into b values ({ord(table.name)})", own("snapshot"))
        create_staging(table, stamp)

    destination.create_staging = disturbed  # type: ignore[method-assign]
    result = load(url, destination)
    assert {e.table.name: e.rows_read for e in result.tables} == {"a": 1, "b": 1}


# Another program that has a warehouse open until its input ends.
HOLD = """
import duckdb, sys
with duckdb.connect(sys.argv[1]):
    print("open", flush=True)
    sys.stdin.read()
"""


class TestErrors:
    """Each mistake: one sentence, the right exit code, no traceback, nothing created or changed."""

    def _fails(self, result: Ran, code: int, *words: str) -> None:
        assert (result.code, result.out) == (code, ""), result
        assert len(result.err.strip().splitlines()) == 1, result.err
        for word in words:
            assert word in result.err

    def test_no_source(self, tmp_path: Path) -> None:
        self._fails(in_process(folder=tmp_path), 2, "SOURCE")

    @pytest.mark.parametrize(
        "url", ["oracle://u:secret@h/d", "shop.sqlite", "sqlite://", "mysql:/x"]
    )
    def test_unknown_urls(self, url: str, tmp_path: Path) -> None:
        result = in_process("--source", url, folder=tmp_path)
        self._fails(result, 2)
        assert "secret" not in result.err
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("option", ["tls=true", "ssl=1", "sslca=x"])
    def test_a_misspelt_wish_for_tls(self, option: str, tmp_path: Path) -> None:
        result = in_process("--source", f"mysql://u:secret@127.0.0.1:1/d?{option}", folder=tmp_path)
        self._fails(result, 2, "tls=on")

    @pytest.mark.parametrize("scheme", ["mysql", "postgresql"])
    def test_server_unreachable(self, scheme: str, tmp_path: Path) -> None:
        result = in_process("--source", f"{scheme}://u:secret@127.0.0.1:1/d", folder=tmp_path)
        self._fails(result, 1, "127.0.0.1:1")
        assert "secret" not in result.err
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("kind", ["mariadb", "postgres"])
    def test_wrong_password_and_missing_database(
        self, kind: str, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        server: MariaDBServer | PostgresServer = request.getfixturevalue(kind)
        name = own("errors_of_login")
        url = parse_url(server.create_database(name))
        login = f"{url.scheme}://{url.user}:wrongsecret@{url.host}:{url.port}/{url.database}"
        result = in_process("--source", login, folder=tmp_path)
        self._fails(result, 1, "password")
        assert "wrongsecret" not in result.err
        missing = server.create_database(name).replace(name, "nowhere")
        self._fails(in_process("--source", missing, folder=tmp_path), 1, "nowhere")
        empty = server.create_database(name)
        self._fails(in_process("--source", empty, folder=tmp_path), 1, "no tables")
        assert list(tmp_path.iterdir()) == []

    def test_missing_sqlite_file(self, tmp_path: Path) -> None:
        self._fails(
            in_process("--source", "sqlite:///shop.sqlite", folder=tmp_path), 1, "shop.sqlite"
        )
        (tmp_path / "shop.sqlite").write_text(
            "not a database, but long enough to look like one" * 99
        )
        self._fails(
            in_process("--source", "sqlite:///shop.sqlite", folder=tmp_path), 1, "shop.sqlite"
        )

    def test_selected_table_missing(self, shop: sqlite3.Connection, tmp_path: Path) -> None:
        result = in_process(
            "--source", "sqlite:///shop.sqlite", "--select", "invoice", folder=tmp_path
        )
        self._fails(result, 2, "invoice", "orders")
        assert not (tmp_path / "warehouse.duckdb").exists()

    def test_warehouse_open_elsewhere(
        self, shop: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert in_process("--source", "sqlite:///shop.sqlite", folder=tmp_path).code == 0
        monkeypatch.setattr(loader.destinations.duckdb_files, "PATIENCE", 0.5)
        with subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path / "warehouse.duckdb")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as other:
            assert other.stdout and other.stdout.readline() == b"open\n"
            result = in_process("--source", "sqlite:///shop.sqlite", folder=tmp_path)
            other.communicate()
        self._fails(result, 1, "open in another program")

    def test_warehouse_is_no_database(self, shop: sqlite3.Connection, tmp_path: Path) -> None:
        path = tmp_path / "warehouse.duckdb"
        path.write_text("precious notes")
        result = in_process("--source", "sqlite:///shop.sqlite", folder=tmp_path)
        self._fails(result, 1, "warehouse.duckdb")
        assert path.read_text() == "precious notes"
        (tmp_path / "folder").mkdir()
        folder = in_process(
            "--source", "sqlite:///shop.sqlite", folder=tmp_path, DUCKDB_PATH="folder"
        )
        self._fails(folder, 1, "folder")
        nowhere = in_process(
            "--source", "sqlite:///shop.sqlite", folder=tmp_path, DUCKDB_PATH="no/w.duckdb"
        )
        self._fails(nowhere, 1, "does not exist")

    def test_postgres_warehouse(
        self, shop: sqlite3.Connection, tmp_path: Path, postgres: PostgresServer
    ) -> None:
        arguments = ("--source", "sqlite:///shop.sqlite", "--target", "postgres")
        postgres.create_database(own("locked_up"))
        environment = postgres.environment(own("locked_up"))
        wrong = {**environment, "PGPASSWORD": "wrongsecret"}
        result = in_process(*arguments, folder=tmp_path, **wrong)
        self._fails(result, 1, "password")
        assert "wrongsecret" not in result.err
        self._fails(
            in_process(*arguments, folder=tmp_path, **{**environment, "PGPORT": "1"}), 1, ":1"
        )
        missing = {**environment, "PGDATABASE": "nowhere"}
        self._fails(in_process(*arguments, folder=tmp_path, **missing), 1, "nowhere")
        read_only = {**environment, "PGOPTIONS": "-c default_transaction_read_only=on"}
        self._fails(in_process(*arguments, folder=tmp_path, **read_only), 1, "read-only")

    def test_a_second_loader_refuses(
        self,
        shop: sqlite3.Connection,
        tmp_path: Path,
        warehouse: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(loader.destinations.postgres, "PATIENCE", 0.5)
        monkeypatch.setattr(loader.destinations.redshift.destination, "PATIENCE", 500)
        open_warehouse, query = warehouse
        first = open_warehouse()
        first.open()
        if isinstance(first, DuckDBDestination):
            # A process has the lock, not a thread of it.
            result = as_process(
                "--source", "sqlite:///shop.sqlite", "--raw-schema", "raw", folder=tmp_path
            )
            self._fails(result, 75, "Another load")
        else:
            with pytest.raises(BusyError, match="Another load"):
                load(_url(tmp_path), open_warehouse())
        first.close()
        load(_url(tmp_path), open_warehouse())
        assert query("select count(*) from raw.orders") == [(3,)]


def test_passwords_are_hidden() -> None:
    url = parse_url("mysql://u:p%40ss%3A%2F@h:1/d?x=1")
    assert url.password == "p@ss:/"
    assert str(url) == "mysql://u:***@h:1/d"
    assert "p@ss" not in repr(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mysql://reader@h:1/shop?tls=on", "mysql://reader:p%40ss%3A%2F@h:1/shop?tls=on"),
        ("mysql://reader:other@h/shop", "mysql://reader:other@h/shop"),
        ("mysql://h/shop", "mysql://h/shop"),
        ("file:///dumps/orders@noon.csv", "file:///dumps/orders@noon.csv"),
        ("mysql://h/shop?ssl_ca=a@b.pem", "mysql://h/shop?ssl_ca=a@b.pem"),
    ],
)
def test_a_password_from_the_environment(
    url: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert with_password(url) == url
    monkeypatch.setenv("SOURCE_PASSWORD", "p@ss:/")
    assert with_password(url) == expected


def _without_figures(ran: Ran) -> tuple[int, str, str]:
    """Without what differs from run to run: the seconds and the name of the batch."""
    figures = r"\b[0-9]+\.[0-9]+\b|\b[0-9]{8}T[0-9]+Z_[0-9a-f]{4}\b"
    return ran.code, re.sub(figures, "#", ran.out), re.sub(figures, "#", ran.err)


@pytest.mark.parametrize("program", [MODULE, SCRIPT], ids=["python -m loader", "scripts/load.py"])
def test_command_line(shop: sqlite3.Connection, tmp_path: Path, program: tuple[str, ...]) -> None:
    def run(*arguments: str) -> Ran:
        return as_process(
            *arguments, folder=tmp_path, program=program, SOURCE="sqlite:///shop.sqlite"
        )

    shop.execute("insert into orders values (9, 'x', 'not money')")
    result = run()
    assert result.code == 3, result
    assert "orders.total: 1 x value does not fit decimal(10,2)" in result.out
    shop.execute("delete from orders where id = 9")
    assert run().code == 0
    # All other tests call it in their own process, where it does and says the same. The script
    # calls the module.
    both = [(), ("--plan",), ("--mode", "diff"), ("--select", "nothing"), ("--nothing",)]
    for arguments in both if program == MODULE else both[-1:]:
        there = run(*arguments)
        here = in_process(*arguments, folder=tmp_path, SOURCE="sqlite:///shop.sqlite")
        assert _without_figures(there) == _without_figures(here)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shop.sqlite", "warehouse.duckdb"]


# Of limits below the size of the row, the smallest is enough for a quick test.
@pytest.mark.parametrize("limit", ["1MB", pytest.param("20MB", marks=pytest.mark.long), "200MB"])
def test_a_row_larger_than_the_memory_that_duckdb_is_left(
    limit: str, shop: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is staged and published all the same, in parts, and moves from the log into the file."""
    monkeypatch.setattr(loader.destinations.duckdb, "ROWS_PER_PART", 2)
    monkeypatch.setattr(duckdb_memory, "KEPT", limit)
    shop.execute("insert into log values (?)", ["x" * 30_000_000])
    monkeypatch.setattr(duckdb_memory, "FOR_CHECKPOINT", limit)
    path = tmp_path / "w.duckdb"
    for _ in range(2):
        load(_url(tmp_path), DuckDBDestination("raw", path))
        assert sorted(p.name for p in tmp_path.glob("w.duckdb*")) == ["w.duckdb"]
        with duckdb.connect(str(path), read_only=True) as connection:
            found = connection.execute("select count(*), max(length(message)) from raw.log")
            assert found.fetchall() == [(5, 30_000_000)]
