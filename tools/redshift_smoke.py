"""Check on a real Amazon Redshift what the tests of this project only assume.

    python -m tools.redshift_smoke              all checks
    python -m tools.redshift_smoke copy lock    some of them

It reads the same variables as TARGET=redshift. It works in its own schemas (classicmodels_smoke and
two more with this prefix), which it drops at the end, and prints a line for each check.
docs/redshift.md says what to expect. Exit status: 0 all passed, 1 a check failed or there is no
connection, 2 a variable is missing.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import sqlite3
import ssl
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loader import LoadError, Options, UsageError, load
from loader.destinations.redshift.settings import driver_parameters, redshift_destination
from loader.verify import verify

SCHEMA = "classicmodels_smoke"
ROWS = 5_000


class NothingToCheckError(Exception):
    """There is nothing to check; the text says why."""


@dataclass
class Smoke:
    """The warehouse that is checked, and connections to it."""

    parameters: dict[str, Any]
    _open: list[Any] = field(default_factory=list)

    def connect(self) -> Any:
        """A new connection, which is closed after the check."""
        import redshift_connector

        connection = redshift_connector.connect(**self.parameters)
        self._open.append(connection)
        self.ask(connection, f"set search_path to {SCHEMA}")
        connection.commit()
        return connection

    @staticmethod
    def ask(
        connection: Any, sql: str, values: Sequence[Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """Run a statement; returns its rows, if it has any."""
        cursor = connection.cursor()
        cursor.paramstyle = "qmark"
        cursor.execute(sql, values)
        return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    def refused(self, connection: Any, sql: str) -> str:
        """The error of a statement that must fail."""
        try:
            self.ask(connection, sql)
        except Exception as error:
            connection.rollback()
            said = error.args[0] if error.args else error
            return f"{said.get('C')} {said.get('M')}" if isinstance(said, dict) else str(error)
        raise AssertionError(f"it accepted: {sql}")

    def close(self) -> None:
        """Close all connections."""
        while self._open:
            with suppress(Exception):
                self._open.pop().close()


def check_version(smoke: Smoke) -> str:
    """The server is a Redshift."""
    ((version,),) = smoke.ask(smoke.connect(), "select version()")
    assert "Redshift" in version, version
    return str(version).rpartition(", ")[2]


def check_encryption(smoke: Smoke) -> str:
    """The connection is encrypted."""
    used = smoke.connect()._usock
    assert isinstance(used, ssl.SSLSocket), "the connection is not encrypted"
    return f"{used.version()}, {smoke.parameters['sslmode']}"


def check_text_lengths(smoke: Smoke) -> str:
    """A varchar's length is in bytes, and longer values are refused."""
    connection = smoke.connect()
    smoke.ask(connection, "create table texts (v varchar(4), w varchar(65535))")
    smoke.ask(connection, "insert into texts values (?, ?)", ("éé", "é" * 32_767))
    found = smoke.ask(connection, "select octet_length(v), octet_length(w) from texts")
    assert found == [(4, 65_534)], found
    connection.commit()
    return smoke.refused(connection, "insert into texts (v) values ('ééé')")


def check_trailing_blanks(smoke: Smoke) -> str:
    """Texts that differ only in trailing blanks are equal; their lengths and digests differ."""
    connection = smoke.connect()
    smoke.ask(connection, "create table blanks (a varchar(9), b varchar(9))")
    smoke.ask(connection, "insert into blanks values ('a', 'a ')")
    found = smoke.ask(
        connection, "select a = b, octet_length(a) = octet_length(b), md5(a) = md5(b) from blanks"
    )
    assert found == [(True, False, False)], found
    return "'a' = 'a '; octet_length and md5 differ"


def check_numbers(smoke: Smoke) -> str:
    """Decimals have 38 digits, 37 behind the point; doubles are exact, also as text."""
    connection = smoke.connect()
    doubles = (0.3, 0.30000000000000004, 1.7976931348623157e308, 2.2250738585072014e-308)
    smoke.ask(connection, "create table numbers (w decimal(38,0), s decimal(38,37), d float8)")
    for double in doubles:
        smoke.ask(
            connection,
            "insert into numbers values"
            " (cast(? as decimal(38,0)), cast(? as decimal(38,37)), cast(? as float8))",
            ("9" * 38, "-0." + "1" * 37, repr(double)),
        )
    smoke.ask(connection, "set extra_float_digits to 2")
    found = smoke.ask(
        connection,
        "select cast(w as varchar(50)), cast(s as varchar(50)), d, cast(d as varchar(50))"
        " from numbers",
    )
    assert {row[:2] for row in found} == {("9" * 38, "-0." + "1" * 37)}, found
    assert sorted(row[2] for row in found) == sorted(doubles), found
    assert all(float(row[3]) == row[2] for row in found), found
    ((nan, equal),) = smoke.ask(
        connection, "select n, n = n from (select cast('NaN' as float8) as n) as nans"
    )
    assert math.isnan(nan), nan
    return f"exact; NaN {'equals' if equal else 'does not equal'} NaN"


def check_times(smoke: Smoke) -> str:
    """Microseconds and years before Christ are rendered exactly."""
    connection = smoke.connect()
    smoke.ask(connection, "create table times (t timestamp, d date)")
    smoke.ask(
        connection,
        "insert into times values ('2024-12-31 23:59:59.999999', '0001-01-01'),"
        " ('9999-12-31 23:59:59.5', '0044-03-15 BC')",
    )
    found = smoke.ask(
        connection,
        "select to_char(t, 'YYYY-MM-DD HH24:MI:SS.US'), to_char(d, 'YYYY-MM-DD'),"
        " d < date '0001-01-01' from times order by t",
    )
    assert found == [
        ("2024-12-31 23:59:59.999999", "0001-01-01", False),
        ("9999-12-31 23:59:59.500000", "0044-03-15", True),
    ], found
    return "exact"


def check_digests(smoke: Smoke) -> str:
    """The functions that compare rows inside Redshift work like Python's."""
    connection = smoke.connect()
    text, data = "é 🚂\t\\", bytes(range(256)) * 200
    digest = hashlib.md5(text.encode()).hexdigest()
    smoke.ask(connection, "create table digests (t varchar(99), b varbyte(4000000))")
    smoke.ask(connection, "insert into digests values (?, from_hex(?))", (text, data[:9000].hex()))
    found = smoke.ask(
        connection,
        "select md5(t), strtol(substring(md5(t), 1, 15), 16), octet_length(b),"
        " md5(lower(to_hex(substring(b, 1001, 8000)))) from digests",
    )
    expected = (
        digest,
        int(digest[:15], 16),
        9000,
        hashlib.md5(data[1000:9000].hex().encode()).hexdigest(),
    )
    assert found == [expected], found
    return "md5, strtol and varbyte are as in Python"


def check_parameters(smoke: Smoke) -> str:
    """One statement accepts as many values as the driver allows."""
    connection = smoke.connect()
    smoke.ask(connection, "create table many (n integer)")
    values = ", ".join(["(cast(? as integer))"] * 32_767)
    smoke.ask(connection, f"insert into many values {values}", [str(n) for n in range(32_767)])
    found = smoke.ask(connection, "select count(*), sum(n) from many")
    assert [tuple(map(int, row)) for row in found] == [(32_767, 32_767 * 16_383)], found
    return "32,767 in a statement"


def check_rollback(smoke: Smoke) -> str:
    """Replacing a column by a wider one can be rolled back, and so can a new table."""
    connection = smoke.connect()
    smoke.ask(connection, "create table wide (n integer, t varchar(5))")
    smoke.ask(connection, "insert into wide values (1, 'x')")
    connection.commit()
    smoke.ask(connection, "alter table wide add column m bigint")
    smoke.ask(connection, "update wide set m = n")
    smoke.ask(connection, "alter table wide drop column n")
    smoke.ask(connection, "alter table wide rename column m to n")
    assert smoke.ask(connection, "select n, t from wide") == [(1, "x")]
    smoke.ask(connection, "create table gone (n integer)")
    connection.rollback()
    found = smoke.ask(
        connection,
        "select a.attname, format_type(a.atttypid, a.atttypmod) from pg_attribute as a"
        " inner join pg_class as c on a.attrelid = c.oid"
        " inner join pg_namespace as s on c.relnamespace = s.oid"
        f" where s.nspname = '{SCHEMA}' and c.relname in ('wide', 'gone')"
        " and a.attnum > 0 and not a.attisdropped order by a.attnum",
    )
    assert found == [("n", "integer"), ("t", "character varying(5)")], found
    return "columns and tables come back"


def check_what_commits(smoke: Smoke) -> str:
    """TRUNCATE commits, and ALTER COLUMN TYPE fails in a transaction: the loader uses neither."""
    connection = smoke.connect()
    smoke.ask(connection, "create table emptied (t varchar(5))")
    smoke.ask(connection, "insert into emptied values ('x')")
    connection.commit()
    smoke.ask(connection, "truncate emptied")
    connection.rollback()
    left = smoke.ask(connection, "select count(*) from emptied")
    assert left == [(0,)], "TRUNCATE was rolled back"
    said = smoke.refused(connection, "alter table emptied alter column t type varchar(9)")
    return f"TRUNCATE commits; {said}"


def check_lock(smoke: Smoke) -> str:
    """A statement waits for a locked table up to the time limit."""
    first, second = smoke.connect(), smoke.connect()
    smoke.ask(first, "create table locked (n integer)")
    first.commit()
    smoke.ask(first, "lock table locked")
    smoke.ask(second, "set statement_timeout to 3000")
    said = smoke.refused(second, "lock table locked")
    assert said.startswith("57014"), said
    first.rollback()
    smoke.ask(second, "lock table locked")
    return said


def check_isolation(smoke: Smoke) -> str:
    """How two concurrent writers end; no change is lost in either case."""
    first, second = smoke.connect(), smoke.connect()
    smoke.ask(first, "create table counted (n integer)")
    smoke.ask(first, "create table other (n integer)")
    smoke.ask(first, "insert into counted values (1)")
    smoke.ask(first, "insert into other values (1)")
    first.commit()
    # Each reads what the other one writes.
    for connection, read, written in ((first, "counted", "other"), (second, "other", "counted")):
        smoke.ask(connection, f"select * from {read}")
        smoke.ask(connection, f"insert into {written} values (2)")
    first.commit()
    try:
        second.commit()
    except Exception as error:
        assert "1023" in str(error), error
        return "serializable: the second of two that read what the other writes gets error 1023"
    return "snapshot: both of two that read what the other writes commit"


def check_late_binding(smoke: Smoke) -> str:
    """A column below a late-binding view can be replaced."""
    connection = smoke.connect()
    smoke.ask(connection, "create table below (n integer)")
    smoke.ask(connection, "insert into below values (1)")
    smoke.ask(
        connection,
        f"create view above as select n from {SCHEMA}.below with no schema binding",
    )
    connection.commit()
    smoke.ask(connection, "alter table below add column m bigint")
    smoke.ask(connection, "update below set m = n")
    smoke.ask(connection, "alter table below drop column n")
    smoke.ask(connection, "alter table below rename column m to n")
    connection.commit()
    assert smoke.ask(connection, "select n from above") == [(1,)]
    return "the view shows the new column"


def check_insert(smoke: Smoke) -> str:
    """The loader without a bucket, with a few hundred rows."""
    return _loads(smoke, f"{SCHEMA}_insert", 300, without_bucket=True)


def check_copy(smoke: Smoke) -> str:
    """The loader with a bucket: every type, changes and wider columns, compared each time."""
    if not os.environ.get("REDSHIFT_S3_STAGING"):
        raise NothingToCheckError("REDSHIFT_S3_STAGING is not set")
    return _loads(smoke, f"{SCHEMA}_copy", ROWS, without_bucket=False)


def check_copy_error(smoke: Smoke) -> str:
    """The error of COPY for missing files."""
    url, role = os.environ.get("REDSHIFT_S3_STAGING"), os.environ.get("REDSHIFT_IAM_ROLE")
    if not url or not role:
        raise NothingToCheckError("REDSHIFT_S3_STAGING or REDSHIFT_IAM_ROLE is not set")
    connection = smoke.connect()
    smoke.ask(connection, "create table nothing (n integer)")
    connection.commit()
    named = role if role == "default" else f"'{role}'"
    said = smoke.refused(
        connection,
        f"copy nothing from '{url.rstrip('/')}/nothing-is-here/' iam_role {named}"
        " format as parquet",
    )
    return " ".join(said.split())[:160]


def check_marts(smoke: Smoke) -> str:
    """Distribution and sort keys of the facts and dimensions of a build."""
    found = smoke.ask(
        smoke.connect(),
        'select "table", diststyle, sortkey1, tbl_rows from svv_table_info'
        " where schema = 'marts' order by 1",
    )
    if not found:
        raise NothingToCheckError("there are no marts: make build TARGET=redshift first")
    wrong = [
        row
        for row in found
        if not (
            row[1].startswith("KEY(") and row[2] if row[0].startswith("fact_") else "ALL" in row[1]
        )
    ]
    assert not wrong, wrong
    return "; ".join(f"{name} {style} {sort or ''}".strip() for name, style, sort, _ in found)


CHECKS: dict[str, Callable[[Smoke], str]] = {
    name.removeprefix("check_"): function
    for name, function in list(globals().items())
    if name.startswith("check_")
}


def _loads(smoke: Smoke, schema: str, rows: int, *, without_bucket: bool) -> str:
    """Load first, without a change, and after changes; compare after each load."""
    with _shop(rows) as (url, shop), _bucket_hidden(hidden=without_bucket):
        seen = []
        for change in (
            None,
            None,
            "update orders set code = code || ' ' where id <= 10",
            "delete from orders where id = 11; delete from events where rowid = 1;"
            "insert into orders (id) values (0); insert into events values ('new', 1)",
            # Two columns must become wider.
            "create table wider as select * from orders; drop table orders;"
            "create table orders (id integer primary key, code varchar(30), total decimal(20,4),"
            " big decimal(38,10), day timestamp, at timestamp, data blob, paid boolean, w real);"
            "insert into orders select * from wider; drop table wider;"
            "update orders set day = '2024-02-29 12:00:00' where id = 12",
        ):
            if change:
                shop.executescript(change)
            result = load(url, redshift_destination(schema, smoke.parameters))
            seen.append(
                tuple(
                    sum(getattr(entry.changes, name) for entry in result.tables)
                    for name in ("inserted", "updated", "deleted")
                )
            )
            verdicts, *_ = verify(url, redshift_destination(schema, smoke.parameters), Options())
            differences = [text for verdict in verdicts for text in verdict.differences]
            assert not differences, differences
    expected = [(rows + 20, 0, 0), (0, 0, 0), (0, 10, 0), (2, 0, 2), (0, 1, 0)]
    assert seen == expected, seen
    return f"{rows:,} rows, loaded five times, equal each time"


@contextmanager
def _shop(rows: int) -> Iterator[tuple[str, sqlite3.Connection]]:
    """A source with a column of each type and a table without a key: URL and connection."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shop.sqlite"
        shop = sqlite3.connect(path, isolation_level=None)
        shop.executescript(
            "create table orders (id integer primary key, code varchar(30), total decimal(10,2),"
            " big decimal(38,10), day date, at timestamp, data blob, paid boolean, w real);"
            "create table events (what text, n int)"
        )
        shop.executemany(
            "insert into orders values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    n,
                    f"é\t{n}\\",
                    f"{n}.25",
                    None if n % 7 == 0 else f"-{n}.0000000001",
                    "2024-02-29",
                    "2024-12-31 23:59:59.999999",
                    bytes([n % 256] * 9),
                    n % 2,
                    n / 3,
                )
                for n in range(1, rows + 1)
            ),
        )
        shop.executemany(
            "insert into events values (?, ?)", [(f"e{n % 4}", None) for n in range(20)]
        )
        try:
            yield f"sqlite:///{path}", shop
        finally:
            shop.close()


@contextmanager
def _bucket_hidden(*, hidden: bool) -> Iterator[None]:
    before = os.environ.get("REDSHIFT_S3_STAGING")
    if hidden:
        os.environ.pop("REDSHIFT_S3_STAGING", None)
    try:
        yield
    finally:
        if before is not None:
            os.environ["REDSHIFT_S3_STAGING"] = before


def _drop(smoke: Smoke, create: bool) -> None:
    import redshift_connector

    connection = redshift_connector.connect(**smoke.parameters)
    for schema in (SCHEMA, f"{SCHEMA}_insert", f"{SCHEMA}_copy"):
        smoke.ask(connection, f"drop schema if exists {schema} cascade")
    if create:
        smoke.ask(connection, f"create schema {SCHEMA}")
    connection.commit()
    connection.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named checks, or all; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=", ".join(CHECKS))
    names = parser.parse_args(arguments).checks or list(CHECKS)
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        parser.error(f"there is no check {unknown[0]}; there are {', '.join(CHECKS)}")
    try:
        smoke = Smoke(driver_parameters(os.environ))
        # This says in one sentence why there is no connection, or which package is missing.
        redshift_destination(SCHEMA, smoke.parameters).ask("select 1")
        _drop(smoke, create=True)
    except LoadError as error:
        print(f"redshift_smoke: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    failed = 0
    for name in names:
        try:
            verdict, said = "ok", CHECKS[name](smoke)
        except NothingToCheckError as reason:
            verdict, said = "skipped", str(reason)
        except Exception as error:
            verdict, said = "FAILED", " ".join(f"{type(error).__name__}: {error}".split())
            failed += 1
        finally:
            smoke.close()
        print(f"{verdict:<8} {name:<16} {said}", flush=True)
    _drop(smoke, create=False)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
