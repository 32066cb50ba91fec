"""What is the Redshift destination's own: files in S3, COPY, lengths in bytes, lock and clean-up.

It runs against PostgreSQL behind the shim and an S3 server; what that does not prove stands in
docs/redshift-checks.md. The contract that all warehouses keep is tested with the others, in
test_loader_values, test_loader_changes, test_loader_drift and test_loader_runs.
"""

import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pyarrow.parquet as pq
import pytest
from redshift_connector.core import Connection

from conftest import s3_server
from loader import LoadError, Options, UsageError, load
from loader.destinations.redshift import files as redshift_files
from loader.destinations.redshift.destination import RedshiftDestination
from loader.destinations.redshift.files import StagingFiles
from loader.schema import Kind
from support.clone import REPO
from support.shim import Shim
from tools.servers import HOST, MariaDBServer, PostgresServer

# Of each row, from a number.
ORDERS = (
    "insert into orders select seq, concat('code ', seq), seq / 7, seq mod 100, seq * 1000000007,"
    " '2026-01-01' + interval seq day, '2026-01-01' + interval seq * 1000001 microsecond,"
    " unhex(sha1(seq)), seq mod 2, if(seq mod 5 = 0, null, seq / 3e0)"
)
Opened = Callable[..., RedshiftDestination]


@dataclass
class Shop:
    """A database of the MariaDB server, and how to change it and ask the warehouse."""

    url: str
    execute: Callable[[str], object]
    ask: Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def shop(
    request: pytest.FixtureRequest,
    mariadb: MariaDBServer,
    postgres: PostgresServer,
    redshift_database: str,
) -> Shop:
    """Two tables: one of each kind of value, and one without a key."""
    name = f"shop_{abs(hash(request.node.name)) % 10**8}"
    url = mariadb.create_database(name)
    mariadb.execute(
        "create table orders (id int primary key, code varchar(20), total decimal(38,10),"
        " small smallint, big bigint, day date, at datetime(6), raw varbinary(300),"
        " paid bit(1), weight double);"
        f"{ORDERS} from seq_1_to_3000;"
        "create table events (what varchar(40), n int);"
        "insert into events select concat('event ', seq mod 10), null from seq_1_to_100",
        name,
    )
    return Shop(
        url,
        lambda sql: mariadb.execute(sql, name),
        lambda sql: postgres.execute(sql, redshift_database),
    )


@pytest.fixture
def bucket(s3: str) -> Iterator[Any]:
    """The bucket, empty before and after."""
    found = boto3.resource("s3").Bucket("staging")
    found.objects.all().delete()
    yield found
    found.objects.all().delete()


def _keys(bucket: Any) -> list[str]:
    return sorted(entry.key for entry in bucket.objects.all())


def _state(shop: Shop) -> list[tuple[Any, ...]]:
    return shop.ask(
        "select count(*), count(distinct _batch_id), sum(total), max(code) from raw.orders"
        " where _deleted_at is null"
    ) + shop.ask("select status, count(*) from raw._load_runs group by status order by status")


def test_files_are_exact_several_encrypted_and_removed(
    shop: Shop, redshift: Opened, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redshift_files, "GROUP_BYTES", 100_000)
    monkeypatch.setattr(redshift_files, "FILE_BYTES", 100_000)
    shop.execute(f"{ORDERS} from seq_3001_to_30000")
    seen: dict[str, Any] = {}
    remove = StagingFiles.remove

    def looking(files: StagingFiles, batch: str) -> None:
        for entry in bucket.objects.all():
            seen[entry.key] = entry.get()
            seen[entry.key]["Body"] = seen[entry.key]["Body"].read()
        remove(files, batch)

    monkeypatch.setattr(StagingFiles, "remove", looking)
    result = load(shop.url, redshift())
    assert _keys(bucket) == []
    of_orders = [found for key, found in seen.items() if "/2/" in key]
    assert len(of_orders) >= 3, sorted(seen)
    folder = rf"loads/loader-[0-9a-f]{{12}}/{result.batch_id}/[12]/\d{{5}}\.parquet"
    assert all(re.fullmatch(folder, key) for key in seen)
    assert {found["ServerSideEncryption"] for found in seen.values()} == {"AES256"}
    sizes = [len(found["Body"]) for found in of_orders]
    assert min(sizes[:-1]) >= 100_000
    files = [pq.ParquetFile(io.BytesIO(found["Body"])) for found in of_orders]
    assert sum(file.metadata.num_rows for file in files) == 30_000
    columns = files[0].schema
    assert [
        (columns.column(n).physical_type, str(columns.column(n).logical_type))
        for n in range(len(columns))
    ] == [
        ("INT32", "None"),
        ("BYTE_ARRAY", "String"),
        ("FIXED_LEN_BYTE_ARRAY", "Decimal(precision=38, scale=10)"),
        ("INT32", "Int(bitWidth=16, isSigned=true)"),
        ("INT64", "None"),
        ("INT32", "Date"),
        ("INT96", "None"),
        ("BYTE_ARRAY", "None"),
        ("BOOLEAN", "None"),
        ("DOUBLE", "None"),
    ]


def test_rounds(shop: Shop, redshift: Opened, bucket: Any) -> None:
    """First load, no change, changes, a wider text, a full refresh; each compared with the shop."""

    def loaded(**options: Any) -> list[tuple[int, ...]]:
        result = load(shop.url, redshift(), Options(**options))
        return [
            (entry.changes.inserted, entry.changes.updated, entry.changes.deleted)
            for entry in result.tables
        ]

    assert loaded() == [(100, 0, 0), (3000, 0, 0)]
    assert loaded() == [(0, 0, 0), (0, 0, 0)]
    stamps = "select count(*), min(_loaded_at), max(_loaded_at) from raw.orders where id > 20"
    before = shop.ask(stamps)
    shop.execute(
        # A blank at the end, and the last bit of a double.
        "update orders set code = concat(code, ' ') where id = 1;"
        "update orders set weight = 0.30000000000000004 where id = 2;"
        "update orders set weight = 0.3 where id = 3; delete from orders where id in (4, 5);"
        "insert into orders (id, code) values (0, 'new');"
        "delete from events where what = 'event 3' limit 4;"
        "insert into events values ('event 3', 1), ('event 4', null)"
    )
    assert loaded() == [(2, 0, 4), (1, 3, 2)]
    assert loaded() == [(0, 0, 0), (0, 0, 0)]
    shop.execute("update orders set weight = 0.3 where id = 2")
    assert loaded() == [(0, 0, 0), (0, 1, 0)]
    assert shop.ask(
        "select length(code), weight from raw.orders where id in (1, 2) order by id"
    ) == [
        (7, 1 / 3),
        (6, 0.3),
    ]
    # 20 characters may have 80 bytes, 30 have 120: the rows that are there lose nothing by that.
    assert _varchar(shop, "orders", "code") == 80
    shop.execute("alter table orders modify code varchar(30)")
    assert loaded() == [(0, 0, 0), (0, 0, 0)]
    assert _varchar(shop, "orders", "code") == 120
    assert shop.ask(stamps) == before
    assert loaded(full_refresh=True) == [(98, 0, 0), (2999, 0, 0)]
    assert shop.ask("select count(*) from raw.orders where _deleted_at is not null") == [(0,)]
    assert _keys(bucket) == []


def _varchar(shop: Shop, table: str, column: str) -> int:
    ((length,),) = shop.ask(
        "select character_maximum_length from information_schema.columns where table_schema = 'raw'"
        f" and table_name = '{table}' and column_name = '{column}'"
    )
    return int(length)


@pytest.mark.parametrize("fast", [True, False])
def test_what_is_too_long_is_loud(shop: Shop, redshift: Opened, s3: str, fast: bool) -> None:
    longest_binary = 4_000_000 if fast else 32_767
    shop.execute(
        "create table texts (id int primary key, t longtext, b longblob, wide decimal(50,2));"
        "insert into texts values (1, repeat('x', 65535), null, 1.5),"
        " (2, concat(repeat('é', 32767), '\\\\'), null, null), (3, repeat('x', 65536), null, null),"
        " (4, repeat('é', 32768), null, null), (5, repeat('\n', 65536), null, null),"
        f" (6, null, repeat('b', {longest_binary}), null),"
        f" (7, null, repeat('b', {longest_binary + 1}), null)"
    )
    only = Options(select=["texts"])
    with pytest.raises(LoadError, match="With --strict nothing was published"):
        load(shop.url, redshift(s3 if fast else None), Options(select=["texts"], strict=True))
    assert shop.ask("select 1 from pg_namespace where nspname = 'raw'") == []
    result = load(shop.url, redshift(s3 if fast else None), only)
    assert result.issue_count == 11
    assert shop.ask(
        "select id, octet_length(t), octet_length(b), wide from raw.texts order by 1"
    ) == [
        (1, 65_535, None, "1.50"),
        (2, 65_535, None, None),
        (3, None, None, None),
        (4, None, None, None),
        (5, None, None, None),
        (6, None, longest_binary, None),
        (7, None, None, None),
    ]
    assert shop.ask(
        "select column_name, reason, value_count, sample_key from raw._load_issues order by 1"
    ) == [
        ("b", f"longer than {longest_binary:,} bytes, loaded as null", 1, "7"),
        ("t", "longer than 65,535 bytes, loaded as null", 3, "3"),
        ("wide", "decimal(50,2) loaded as text: wider than 38 digits", 7, None),
    ]


# What goes wrong in the warehouse. Without doubles rows are digested there, else they come back.
BENDS = [
    ("update {} set total = total + 0.0000000001 where id = 2999", False),
    ("update {} set code = '' where id = 7", False),
    (
        "update {} set code = case id when 8 then 'code 9' else 'code 8' end where id in (8, 9)",
        False,
    ),
    ("update {} set paid = null where id = 7", False),
    ("update {} set \"raw\" = from_hex('00') where id = 7", False),
    ("update {} set at = dateadd(microsecond, 1, at) where id = 7", False),
    ("insert into {0} select * from {0} where id = 3000", False),
    ("delete from {} where id = 3000", False),
    ("delete from {} where id = 3000", True),
    ("update {} set code = code || ' ' where id = 7", True),
    ("update {} set weight = 2.3333333333333339 where id = 7", True),
]


# Of either way one, and a row that is there twice, on each change of the project.
QUICK_BENDS = (BENDS[0], BENDS[6], BENDS[10])


@pytest.mark.parametrize(
    ("bend", "has_doubles"),
    [
        bend if bend in QUICK_BENDS else pytest.param(*bend, marks=pytest.mark.long)
        for bend in BENDS
    ],
)
def test_a_wrong_row_after_copy_is_caught(
    shop: Shop,
    redshift: Opened,
    monkeypatch: pytest.MonkeyPatch,
    bend: str,
    has_doubles: bool,
) -> None:
    """Whatever differs from what was sent, whether it is digested there or rendered here."""
    if not has_doubles:
        shop.execute("alter table orders drop column weight")
    load(shop.url, redshift())
    before = _state(shop)
    shop.execute("update orders set total = total + 1")
    destination = redshift()
    copy = destination._copy

    def bending(files: Any, table: Any, blocks: Any) -> None:
        copy(files, table, blocks)
        if table.raw_name == "orders":
            assert destination._run(bend.format(destination._staged(table))) in (1, 2)

    monkeypatch.setattr(destination, "_copy", bending)
    with pytest.raises(LoadError, match="orders does not read back as it was sent"):
        load(shop.url, destination)
    assert _state(shop) == [before[0], ("failed", 1), ("succeeded", 1)]


def _command(shop: Shop, shim: Shim, postgres: PostgresServer, database: str, s3: str) -> Any:
    """How to run load.py as a person would, with some code before it."""
    environment = os.environ | {
        "SOURCE": shop.url,
        "TARGET": "redshift",
        "REDSHIFT_HOST": HOST,
        "REDSHIFT_PORT": str(shim.port),
        "REDSHIFT_DATABASE": database,
        "REDSHIFT_USER": postgres.user,
        "REDSHIFT_PASSWORD": postgres.password,
        "REDSHIFT_SSLMODE": "disable",
        "REDSHIFT_S3_STAGING": s3,
        "REDSHIFT_IAM_ROLE": "default",
        "PYTHONPATH": str(REPO),
    }

    def run(*arguments: str, before: str = "", **changed: str) -> subprocess.CompletedProcess[str]:
        program = (
            f"{before}\nfrom loader.cli import main\nraise SystemExit(main({list(arguments)!r}))"
        )
        return subprocess.run(
            [sys.executable, "-c", program],
            env=environment | changed,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.fixture
def command(
    shop: Shop, shim: Shim, postgres: PostgresServer, redshift_database: str, s3: str
) -> Any:
    """load.py with this shop and warehouse."""
    return _command(shop, shim, postgres, redshift_database, s3)


def test_the_command_line(shop: Shop, command: Any, bucket: Any) -> None:
    done = command("--raw-schema", "raw")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^orders +3,000 +3,000 +0 +0 ", done.stdout, re.MULTILINE)
    assert re.search(r"-> redshift 127\.0\.0\.1:\d+/redshift_\w+, batch ", done.stdout)
    assert command("--raw-schema", "raw", "--verify-only").returncode == 0
    shop.execute("update orders set total = 0 where id = 1500")
    different = command("--raw-schema", "raw", "--verify-only")
    assert different.returncode == 1
    assert "orders differs where id is from 1000 to 1999" in different.stdout
    planned = command("--raw-schema", "raw", "--plan")
    assert (planned.returncode, "total decimal(38,10)" in planned.stdout) == (0, True)
    said = done.stdout + done.stderr + different.stderr + planned.stderr
    assert "p@ss" not in said
    assert _keys(bucket) == []


WHEN = {
    "while it copies": "sql.startswith('copy ')",
    "between copy and commit": 'sql.startswith(\'create table "raw"."orders"\')'
    ' or \'update "raw"."orders"\' in sql',
}


@pytest.mark.parametrize("when", WHEN)
def test_a_killed_loader_leaves_the_warehouse_as_it_was(
    shop: Shop, redshift: Opened, command: Any, bucket: Any, when: str
) -> None:
    """And the next run removes its files, but those of nobody else."""
    load(shop.url, redshift())
    before = _state(shop)
    shop.execute("update orders set code = 'changed'")
    killing = f"""
import os
from loader.destinations.redshift.destination import RedshiftDestination
run = RedshiftDestination._run
def dying(self, sql):
    if {WHEN[when]}:
        os.kill(os.getpid(), {signal.SIGKILL:d})
    return run(self, sql)
RedshiftDestination._run = dying
"""
    killed = command("--raw-schema", "raw", before=killing)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = _keys(bucket)
    assert bool(left) == (when == "while it copies")
    assert _state(shop) == before
    root = "loads/loader-0123456789ab/"
    others = [
        "elsewhere/00000.parquet",
        "loads/note.txt",
        f"{root}20200101T000000000000Z_0000/1/00000.parquet",
    ]
    for key in left:
        # Of this warehouse, but no run's; and of a run that began later than the next one.
        here = key.split("/20")[0]
        others += [f"{here}/by hand.txt", f"{here}/29990101T000000000000Z_0000/1/00000.parquet"]
    for key in others:
        bucket.put_object(Key=key, Body=b"of somebody else")
    again = command("--raw-schema", "raw")
    assert again.returncode == 0, again.stderr
    assert _keys(bucket) == sorted(set(others))
    assert shop.ask("select count(*) from raw.orders where code = 'changed'") == [(3000,)]


@pytest.mark.long
def test_one_loader_at_a_time(shop: Shop, redshift: Opened) -> None:
    """Also where the lock is there already, which the first load makes."""
    load(shop.url, redshift())
    first = redshift()
    first.open()
    with pytest.raises(LoadError, match=r"Another load into raw of redshift .* is running"):
        load(shop.url, redshift())
    first.close()
    load(shop.url, redshift())


@pytest.mark.long
def test_s3_goes_away_in_the_middle(
    shop: Shop, redshift: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server() as server:
        load(shop.url, redshift())
        before = _state(shop)
        shop.execute("update orders set code = 'changed'")
        destination = redshift()
        create = destination.create_staging

        def creating(table: Any, stamp: Any) -> None:
            create(table, stamp)
            if table.raw_name == "orders":
                server.kill()

        monkeypatch.setattr(destination, "create_staging", creating)
        with pytest.raises(LoadError, match="staging/loads, writing the table orders: Could not c"):
            load(shop.url, destination)
    assert _state(shop) == [before[0], ("failed", 1), ("succeeded", 1)]


def test_errors_are_sentences(
    shop: Shop, redshift: Opened, command: Any, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LoadError, match="s3://nowhere/x, removing files: there is no such bucket"):
        load(shop.url, redshift("s3://nowhere/x"))
    for url in ("staging/x", "s3://", "s3://Staging/x", "s3://staging/it's"):
        with pytest.raises(UsageError, match="write it as s3://bucket/prefix"):
            redshift(url)
    with pytest.raises(UsageError, match="but not REDSHIFT_IAM_ROLE"):
        redshift(s3, role="")
    wider = {**RedshiftDestination.type_names, Kind.INTEGER: "bigint"}
    monkeypatch.setattr(RedshiftDestination, "type_names", wider)
    with pytest.raises(
        LoadError, match=r"copying the table events from s3://staging/loads/.*: column n is of type"
    ):
        load(shop.url, redshift())
    monkeypatch.undo()
    wrong = command(REDSHIFT_PASSWORD="wrong secret")
    assert wrong.returncode == 1
    assert "cannot be opened: password authentication failed" in wrong.stderr
    assert "wrong secret" not in wrong.stderr
    assert 'database "nowhere" does not exist' in command(REDSHIFT_DATABASE="nowhere").stderr
    assert "cannot be opened: " in command(REDSHIFT_PORT="1").stderr
    # The shim offers no encryption, and nothing but an explicit wish lets it be.
    assert "cannot be opened: Server refuses SSL" in command(REDSHIFT_SSLMODE="").stderr
    missing = command(REDSHIFT_USER="", REDSHIFT_HOST="", REDSHIFT_SSLMODE="require")
    assert missing.returncode == 2
    for name in ("REDSHIFT_SSLMODE is require", "REDSHIFT_HOST is not set", "REDSHIFT_USER is not"):
        assert name in missing.stderr
    assert len(missing.stderr.splitlines()) == 1
    for done in (wrong, missing):
        assert "Traceback" not in done.stderr


@pytest.mark.long
def test_many_rows_without_a_bucket_are_warned_of(
    shop: Shop, redshift: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More parameters than a statement can have, and rows beyond the limit."""
    monkeypatch.setattr("loader.destinations.redshift.destination.FEW_ROWS", 3_100)
    assert load(shop.url, redshift(None)).warnings == []
    shop.execute(f"{ORDERS} from seq_3001_to_3300")
    result = load(shop.url, redshift(None))
    assert [warning[:32] for warning in result.warnings] == ["More than 3,100 rows went throug"]
    assert result.tables[1].changes.inserted == 300
    assert shop.ask("select count(*), count(distinct code), sum(big) from raw.orders") == [
        (3300, 3300, sum(range(1, 3301)) * 1000000007)
    ]


def test_nothing_commits_before_the_end(
    shop: Shop, redshift: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where columns become wider."""
    load(shop.url, redshift())
    shop.execute("alter table orders modify code varchar(50), modify small bigint, add extra int")
    shop.execute("update orders set small = 5000000000")
    sent: list[str] = []
    execute = Connection.execute

    def noting(connection: Any, cursor: Any, sql: str, *arguments: Any) -> Any:
        sent.append(sql)
        return execute(connection, cursor, sql, *arguments)

    monkeypatch.setattr(Connection, "execute", noting)
    load(shop.url, redshift())
    assert any(sql.startswith("copy ") for sql in sent)
    assert any("rename column" in sql for sql in sent)
    commits = r"(?i)\btruncate\b|\bappend\b|\balter column\b|\bvacuum\b|^analyze|^create external"
    assert [sql for sql in sent if re.search(commits, sql)] == []
    assert sum(sql == "commit" for sql in sent) == 1
    assert sent[-1] == "commit"
    assert shop.ask("select small, code, extra from raw.orders where id = 9") == [
        (5_000_000_000, "code 9", None)
    ]
