"""Folders of CSV, JSON Lines and Parquet files: exact values, inferred types, named mistakes."""

import csv
import fcntl
import gzip
import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loader import (
    DuckDBDestination,
    LoadError,
    LoadResult,
    Options,
    PostgresDestination,
    TableOptions,
    UsageError,
    load,
)
from support.clone import REPO
from support.loader_command import as_process, in_process
from support.one_run import own
from tools.servers import PostgresServer

Rows = list[tuple[Any, ...]]


class Dump:
    """A folder of files, and a DuckDB warehouse to load it into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "dump"
        self.folder.mkdir()
        self.warehouse = folder / "warehouse.duckdb"

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def load(self, query: str = "", *, glob: str = "", **options: Any) -> LoadResult:
        url = f"file:///{self.folder}{glob}{query}"
        return load(url, DuckDBDestination("raw", self.warehouse), Options(**options))

    def ask(self, sql: str) -> Rows:
        with duckdb.connect(str(self.warehouse), read_only=True) as connection:
            rows: Rows = connection.execute(sql).fetchall()
        return rows

    def types(self, table: str) -> dict[str, str]:
        rows = self.ask(
            "select column_name, lower(data_type) from duckdb_columns()"
            f" where table_name = '{table}' and column_name[1] <> '_'"
        )
        return dict(rows)

    def refusal(self, query: str = "", **options: Any) -> str:
        """What a load says that fails; it must leave no warehouse behind."""
        with pytest.raises(LoadError) as caught:
            self.load(query, **options)
        if self.warehouse.exists():
            assert self.ask("select * from duckdb_tables()") == []
        return str(caught.value).replace(f"{self.folder}/", "")


@pytest.fixture
def dump(tmp_path: Path) -> Dump:
    return Dump(tmp_path)


# name: values of a column ('' is null) -> type, and how the values print.
INFERRED: dict[str, tuple[list[str], str, list[str | None]]] = {
    "integers": (["0", "-12", "2147483647"], "integer", ["0", "-12", "2147483647"]),
    "large": (["2147483648", "-1", ""], "bigint", ["2147483648", "-1", None]),
    "largest": (["9223372036854775807"], "bigint", ["9223372036854775807"]),
    "smallest": (["-9223372036854775808"], "bigint", ["-9223372036854775808"]),
    "beyond": (["9223372036854775808"], "decimal(38,0)", ["9223372036854775808"]),
    "digits_38": (["9" * 38], "decimal(38,0)", ["9" * 38]),
    "digits_39": (["9" * 39, "1"], "varchar", ["9" * 39, "1"]),
    "leading_zero": (["007", "1"], "varchar", ["007", "1"]),
    "plus": (["+1", "1"], "varchar", ["+1", "1"]),
    "minus_zero": (["-0", "1"], "varchar", ["-0", "1"]),
    "minus_zero_cents": (["-0.00", "1.00"], "varchar", ["-0.00", "1.00"]),
    "blank_before": ([" 1", "2"], "varchar", [" 1", "2"]),
    "money": (["1.50", "-0.05"], "decimal(18,2)", ["1.50", "-0.05"]),
    "mixed_scale": (["1.5", "2", "0.125"], "decimal(18,3)", ["1.500", "2.000", "0.125"]),
    "wide_money": (["12345678901234567.89"], "decimal(38,2)", ["12345678901234567.89"]),
    "scale_too_wide": (["1" * 30, "0." + "1" * 9], "varchar", ["1" * 30, "0." + "1" * 9]),
    "scale_38": (["0." + "1" * 37], "decimal(38,37)", ["0." + "1" * 37]),
    "no_whole": ([".5", "1.5"], "varchar", [".5", "1.5"]),
    "no_fraction": (["5.", "1.5"], "varchar", ["5.", "1.5"]),
    "exponent": (["1e5", "2"], "varchar", ["1e5", "2"]),
    "grouped": (["1_000", "2"], "varchar", ["1_000", "2"]),
    "hexadecimal": (["0x10", "2"], "varchar", ["0x10", "2"]),
    "not_a_number": (["NaN", "2"], "varchar", ["NaN", "2"]),
    "booleans": (["true", "", "false"], "boolean", ["true", None, "false"]),
    "shouted": (["TRUE", "false"], "varchar", ["TRUE", "false"]),
    "bits": (["0", "1"], "integer", ["0", "1"]),
    "dates": (["2024-02-29", "0001-01-01"], "date", ["2024-02-29", "0001-01-01"]),
    "no_such_day": (["2024-02-30", "2024-01-01"], "varchar", ["2024-02-30", "2024-01-01"]),
    "zero_date": (["0000-00-00", "2024-01-01"], "varchar", ["0000-00-00", "2024-01-01"]),
    "year_zero": (["0000-01-01"], "varchar", ["0000-01-01"]),
    "short_date": (["2024-1-1"], "varchar", ["2024-1-1"]),
    "times": (
        ["2024-02-29 23:59:59", "2024-01-01T00:00:00.120"],
        "timestamp",
        ["2024-02-29 23:59:59", "2024-01-01 00:00:00.12"],
    ),
    "midnight_24": (["2024-01-01 24:00:00"], "varchar", ["2024-01-01 24:00:00"]),
    "nanoseconds": (["2024-01-01 00:00:00.1234567"], "varchar", ["2024-01-01 00:00:00.1234567"]),
    "with_zone": (["2024-01-01T00:00:00Z"], "varchar", ["2024-01-01T00:00:00Z"]),
    "date_and_time": (
        ["2024-01-01", "2024-01-01 00:00:00"],
        "varchar",
        ["2024-01-01", "2024-01-01 00:00:00"],
    ),
    "quoted_empty": (['""', "1"], "varchar", ["", "1"]),
    "null_words": (["NULL", "\\N"], "varchar", ["NULL", "\\N"]),
    "nothing": ([], "varchar", []),
}


@pytest.fixture(scope="module")
def inferred(tmp_path_factory: pytest.TempPathFactory) -> Dump:
    """One file with a column for each case, behind 1,500 rows that say nothing."""
    dump = Dump(tmp_path_factory.mktemp("inferred"))
    lines = [",".join(["n", *INFERRED])]
    lines += [",".join([str(n), *("" for _ in INFERRED)]) for n in range(1500)]
    for n in range(3):
        fields = (values[n] if n < len(values) else "" for values, _, _ in INFERRED.values())
        lines.append(",".join([str(1500 + n), *fields]))
    dump.write("cases.csv", "\n".join(lines))
    dump.load()
    return dump


@pytest.mark.parametrize("case", INFERRED)
def test_a_type_is_inferred_only_when_every_value_prints_the_same(
    inferred: Dump, case: str
) -> None:
    _, kind, expected = INFERRED[case]
    assert inferred.types("cases")[case] == kind
    shown = inferred.ask(
        f"select cast({case} as varchar) from raw.cases where n >= 1500 order by n"
    )
    assert [value for (value,) in shown] == expected + [None] * (3 - len(expected))


def test_the_last_of_many_values_decides(dump: Dump) -> None:
    dump.write("t.csv", "a,b\n" + "1,2024-01-01\n" * 5000 + "x,2024-02-30\n")
    dump.load()
    assert dump.types("t") == {"a": "varchar", "b": "varchar"}
    assert dump.ask("select a, b from raw.t order by rowid desc limit 1") == [("x", "2024-02-30")]


FORMS: dict[str, tuple[str, bytes, str]] = {
    "crlf": ("t.csv", b"a,b\r\n1,x\r\n2,y\r\n", ""),
    "no last newline": ("t.csv", b"a,b\n1,x\n2,y", ""),
    "empty last lines": ("t.csv", b"a,b\n1,x\n2,y\n\n\r\n", ""),
    "mixed line ends": ("t.csv", b"a,b\n1,x\r\n2,y\n", ""),
    "byte order mark": ("t.csv", b"\xef\xbb\xbfa,b\n1,x\n2,y\n", ""),
    "byte order mark and quotes": ("t.csv", b'\xef\xbb\xbf"a","b"\n1,x\n2,y\n', ""),
    "everything quoted": ("t.csv", b'"a","b"\n"1","x"\n"2","y"\n', ""),
    "upper-case ending": ("t.CSV", b"a,b\n1,x\n2,y\n", ""),
    "tabs": ("t.tsv", b"a\tb\n1\tx\n2\ty\n", ""),
    "packed": ("t.csv.gz", gzip.compress(b"a,b\n1,x\n2,y\n"), ""),
    "packed in parts": ("t.csv.gz", gzip.compress(b"a,b\n1,") + gzip.compress(b"x\n2,y\n"), ""),
    "packed tabs": ("t.tsv.gz", gzip.compress(b"a\tb\n1\tx\n2\ty\n"), ""),
    "semicolons": ("t.csv", b"a;b\n1;x\n2;y\n", "?delimiter=;"),
    "tabs in .csv": ("t.csv", b"a\tb\n1\tx\n2\ty\n", "?delimiter=tab"),
    "bars": ("t.csv", b"a|b\n1|x\n2|y\n", "?delimiter=|"),
    "json lines": ("t.jsonl", b'{"a": 1, "b": "x"}\n{"b": "y", "a": 2}\n', ""),
    "json lines, crlf and blank": ("t.ndjson", b'{"a":1,"b":"x"}\r\n\r\n{"a":2,"b":"y"}', ""),
    "packed json lines": ("t.jsonl.gz", gzip.compress(b'{"a":1,"b":"x"}\n{"a":2,"b":"y"}\n'), ""),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_rows_however_they_are_written(dump: Dump, form: str) -> None:
    name, content, query = FORMS[form]
    dump.write(name, content)
    dump.load(query)
    assert dump.types("t") == {"a": "integer", "b": "varchar"}
    assert dump.ask("select a, b from raw.t order by rowid") == [(1, "x"), (2, "y")]


def test_other_encodings_and_another_null(dump: Dump) -> None:
    text = 'name,note\nJosé,"5 £\nnext"\n\\N,"\\N"\n,Ÿ\n'
    dump.write("t.csv", text.encode("cp1252"))
    dump.load("?encoding=cp1252&null=\\N")
    assert dump.ask("select name, note from raw.t order by rowid") == [
        ("José", "5 £\nnext"),
        (None, "\\N"),
        ("", "Ÿ"),
    ]
    dump.write("u.csv", "a\n\x80\xa4é\n".encode("latin-1"))
    dump.load("?encoding=latin-1", select=["u"])
    assert dump.ask("select a from raw.u") == [("\x80\xa4é",)]
    for encoding in ("iso2022_jp", "utf-16", "utf-7"):
        dump.write("v.csv", 'id,b\n1,"東,京\n""x"\n2,y\n'.encode(encoding))
        dump.load(f"?encoding={encoding}", select=["v"], full_refresh=True)
        assert dump.ask("select id, b from raw.v order by id") == [(1, '東,京\n"x'), (2, "y")]


def test_one_column_keeps_its_empty_lines(dump: Dump) -> None:
    dump.write("t.csv", 'a\n\nx\n""\n')
    dump.load()
    assert dump.ask("select a from raw.t order by rowid") == [(None,), ("x",), ("",)]


def test_a_header_alone_is_an_empty_table(dump: Dump) -> None:
    dump.write("t.csv", "id,name")
    dump.write("u.parquet", b"")
    pq.write_table(pa.table({"x": pa.array([], pa.decimal128(7, 2))}), dump.folder / "u.parquet")
    result = dump.load()
    assert [entry.rows_read for entry in result.tables] == [0, 0]
    assert dump.types("t") == {"id": "varchar", "name": "varchar"}
    assert dump.types("u") == {"x": "decimal(7,2)"}


ALPHABET = [*"a\",;\t\\'\0| \x7f\x85\u2028é😀", "\n", "\r\n", "\\N", '""', "null", "\r", "\ufeff"]


def _hard_rows(seed: int, count: int) -> list[list[str]]:
    chance = random.Random(seed)
    return [
        ["".join(chance.choices(ALPHABET, k=chance.randrange(6))) for _ in range(4)]
        for _ in range(count)
    ]


@pytest.mark.parametrize("quoting", [csv.QUOTE_ALL, csv.QUOTE_MINIMAL])
def test_whatever_python_writes_arrives(dump: Dump, quoting: Any, postgres: PostgresServer) -> None:
    rows = _hard_rows(7, 4000)
    with (dump.folder / "t.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=quoting, lineterminator="\r\n")
        writer.writerow("abcd")
        writer.writerows(rows)
    dump.load()
    # Without quotes an empty field is null; the writer cannot say which it meant.
    empty = "" if quoting == csv.QUOTE_ALL else None
    expected = [tuple(value or empty for value in row) for row in rows]
    assert dump.ask("select a, b, c, d from raw.t order by rowid") == expected

    url = postgres.create_database(own(f"files_{quoting}"))
    parts = {k: str(v) for k, v in psycopg.conninfo.conninfo_to_dict(url).items()}
    result = load(f"file:///{dump.folder}", PostgresDestination("raw", **parts))
    assert result.issue_count == sum("\0" in value for row in rows for value in row)
    with psycopg.connect(url) as connection:
        held = connection.execute("select a, b, c, d from raw.t").fetchall()
    without_nul = [tuple(v.replace("\0", "") if v else v for v in row) for row in expected]
    assert sorted(map(str, held)) == sorted(map(str, without_nul))


def test_what_postgres_copies_out_comes_back(dump: Dump, postgres: PostgresServer) -> None:
    """COPY's own CSV: a null is an unquoted nothing, an empty text is quoted."""
    url = postgres.create_database(own("files_copy"))
    columns = (
        "id bigint, flag boolean, total numeric(12,2), day date, moment timestamp(3), note text,"
        " raw bytea, seen timestamptz, ratio double precision"
    )
    with psycopg.connect(url) as connection:
        connection.execute(f"create table t ({columns})")
        connection.execute(
            "insert into t values (1, true, 0.10, '2024-02-29', '2024-02-29 01:02:03.450', '',"
            " '\\x00ff5c', '2024-07-01 12:00:00+02', 0.1),"
            " (2, null, null, null, null, null, null, null, '-Infinity'),"
            " (3, false, -1234567890.99, '0001-01-01', '9999-12-31', E'\"a\", b\\r\\n\\tc\\\\N',"
            " '', '1969-12-31 23:59:59.999999+00', 1e-300)"
        )
        connection.execute("set timezone = 'Asia/Kolkata'")
        with connection.cursor().copy("copy t to stdout (format csv, header)") as copy:
            dump.write("t.csv", b"".join(bytes(part) for part in copy))
    dump.write(
        "schema.yml",
        "tables:\n  t:\n    key: [id]\n    columns:\n      id: bigint\n      flag: boolean\n"
        "      total: decimal(12, 2)\n      day: date\n      moment: timestamp\n      note: text\n"
        "      raw: binary\n      seen: timestamp\n      ratio: double\n",
    )
    dump.load()
    names = "id, flag, total, day, moment, note, raw, seen, ratio"
    here = dump.ask(f"select {names} from raw.t order by id")
    with psycopg.connect(url) as connection:
        there = connection.execute(
            f"select {names.replace('seen', chr(39).join(['seen at time zone ', 'utc', '']))}"
            " from t order by id"
        ).fetchall()
    assert here == there


BAD_CSV: dict[str, tuple[bytes, str]] = {
    "too few": (b"a,b\n1,2\n3\n", "t.csv, line 3: 1 fields, but the header has 2 columns."),
    "too many": (b"a,b\n1,2\n3,4,5\n", "t.csv, line 3: 3 fields, but the header has 2 columns."),
    "delimiter behind": (b"a,b\n1,2,\n", "t.csv, line 2: 3 fields, but the header has 2"),
    "behind a quoted newline": (b'a,b\n"1\n\n",2\n3\n', "t.csv, line 5: 1 fields"),
    "empty line between": (b"a,b\n1,2\n\n3,4\n", "t.csv, line 3: the line is empty."),
    "never closed": (b'a,b\n1,"2\n3,4\n', "line 2: field 2 (b) opens a quote that is never"),
    "text behind quotes": (b'a,b\n1,"2"x\n', "line 2: field 2 (b) has text after its closing"),
    "blank behind quotes": (b'a,b\n"1" ,2\n', "line 2: field 1 (a) has text after its closing"),
    "blank before quotes": (b'a,b\n 1, "2"\n', "line 2: field 2 (b) has a quote inside"),
    "stray quote": (b'a,b\n12" x,2\n3,4\n', "line 2: field 1 (a) has a quote inside"),
    "two stray quotes": (b'a,b\n1,x"y"\n', "line 2: field 2 (b) has a quote inside"),
    "carriage return": (b"a,b\n1,x\ry\n", "line 2: field 2 (b) has a carriage return outside"),
    "old Mac": (b"a,b\r1,2\r", "line 1: field 2 has a carriage return outside quotes"),
    "not utf-8": (b"a,b\n1,2\n3,x\xe9y\n", "line 3: the byte 0xE9 at character 4 is not utf-8"),
    "utf-16": ("a,b\n".encode("utf-16"), "line 1: the byte 0xFF at character 1 is not utf-8"),
    "zero bytes": (b"", "t.csv is empty, without a header"),
    "nameless": (b"a,,c\n1,2,3\n", "line 1: column 2 of the header has no name."),
    "named twice": (b"a,b,a\n1,2,3\n", "line 1: the column a appears twice in the header."),
    "named alike": (b"a,A\n1,2\n", "The columns a and A of t have one name in lower case (a)"),
    "other delimiter": (b"a;b\n1;2\n", "the header is one column 'a;b'; if ';' separates"),
    "reserved": (b"a,_loaded_at\n1,2\n", "t._loaded_at has the name of a column that the loader"),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_a_bad_line_is_named_and_nothing_is_published(dump: Dump, case: str) -> None:
    content, sentence = BAD_CSV[case]
    dump.write("good.csv", "id\n1\n")
    dump.write("t.csv", content)
    assert sentence in dump.refusal()


def test_a_line_far_down_a_packed_file_is_named(dump: Dump) -> None:
    lines = b"a,b\n" + b'1,"x\ny"\n' * 100_000 + b"1\n" + b"2,3\n" * 100
    dump.write("t.csv.gz", gzip.compress(lines, 1))
    assert dump.refusal().startswith("t.csv.gz, line 200002: 1 fields")
    dump.write("t.csv.gz", gzip.compress(lines, 1)[:-400])
    assert dump.refusal().startswith("t.csv.gz cannot be read: Compressed file ended before")
    dump.write("t.csv.gz", lines)
    assert dump.refusal().startswith("t.csv.gz cannot be read: Not a gzipped file")


JSON_LINES = rb"""
{"id": 1, "amount": 0.1, "wide": 12345678901234567.89, "big": 18446744073709551616, "on": true}
{"id": 2, "amount": 1.50, "nested": {"b": [1.10, 1e5,  null], "a": "\u00e9"}, "digits": "012"}
{"id": 3, "float": 1e-05, "mixed": 1, "text": "tab\t quote\" \\N \u0000 \ud83d\ude00"}
{"id": 4, "nested": [ ], "mixed": "1", "on": false, "text": "", "day": "2024-02-29", "void": null}
{"id": 5, "mixed": {"a" :1}, "text": null, "day": "2024-03-01", "at": "2024-03-01T10:00:00.5"}
"""


def test_json_values_arrive_as_they_are_written(dump: Dump) -> None:
    # A number in one line, a text of digits in another.
    lines = JSON_LINES.replace(b'"text": null', b'"both": "2"')
    dump.write("t.jsonl", lines.replace(b'"void": null', b'"void": null, "both": 1'))
    dump.load()
    assert dump.types("t") == {
        "id": "integer",
        "amount": "decimal(18,2)",
        "wide": "decimal(38,2)",
        "big": "decimal(38,0)",
        "on": "boolean",
        "nested": "varchar",
        "digits": "varchar",
        "float": "varchar",
        "mixed": "varchar",
        "text": "varchar",
        "day": "date",
        "void": "varchar",
        "both": "varchar",
        "at": "timestamp",
    }
    shown = {
        name: [
            row[0] for row in dump.ask(f'select cast("{name}" as varchar) from raw.t order by id')
        ]
        for name in dump.types("t")
    }
    assert shown["amount"] == ["0.10", "1.50", None, None, None]
    assert shown["wide"][0] == "12345678901234567.89"
    assert shown["big"][0] == "18446744073709551616"
    assert shown["nested"] == [
        None,
        r'{"b": [1.10, 1e5,  null], "a": "\u00e9"}',
        None,
        "[ ]",
        None,
    ]
    assert shown["digits"][1] == "012"
    assert shown["float"][2] == "1e-05"
    assert shown["mixed"] == [None, None, "1", "1", '{"a" :1}']
    assert shown["text"] == [None, None, 'tab\t quote" \\N \0 😀', "", None]
    assert shown["on"] == ["true", None, None, "false", None]
    assert shown["at"][4] == "2024-03-01 10:00:00.5"


BAD_JSON: dict[str, tuple[bytes, str]] = {
    "cut off": (b'{"a": 1}\n{"a":', "t.jsonl, line 2: Expecting value at character 6."),
    "two on a line": (b'{"a": 1} {"a": 2}\n', "t.jsonl, line 1: Extra data at character 10."),
    "over two lines": (b'{"a":\n1}\n', "t.jsonl, line 1: Expecting value"),
    "no object": (b'{"a": 1}\n\n[1]\n', "t.jsonl, line 3: the line is not a JSON object."),
    "named twice": (b'{"a": 1, "a": 2}\n', "t.jsonl, line 1: the key a appears twice"),
    "no number": (b'{"a": NaN}\n', "t.jsonl, line 1: NaN is not JSON."),
    "half a pair": (b'{"a": "\\ud800"}\n', "t.jsonl, line 1: half of a surrogate pair"),
    "not utf-8": (b'{"a": "\xff"}\n', "t.jsonl, line 1: the byte 0xFF at character 8"),
    "deep": (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "nested too deep"),
    "no rows": (b"", "t.jsonl has no rows, so its columns are not known"),
}


@pytest.mark.parametrize("case", BAD_JSON)
def test_a_bad_json_line_is_named(dump: Dump, case: str) -> None:
    content, sentence = BAD_JSON[case]
    dump.write("t.jsonl", content)
    assert sentence in dump.refusal()


def test_json_keys_that_come_late_or_never(dump: Dump) -> None:
    """Batches of about a megabyte: the last rows have a key that the first do not know."""
    note = "x" * 200
    lines = [f'{{"id": {n}, "note": "{note}"}}' for n in range(8000)]
    dump.write("t.jsonl", "\n".join([*lines, '{"id": 8000, "late": 1.5}']))
    dump.write("none.jsonl", "")
    dump.write(
        "schema.yml",
        "tables:\n  none:\n    columns: {id: integer, day: date}\n  t:\n    columns:\n"
        "      id: integer\n      note: text\n      late: decimal(5,1)\n      never: boolean\n",
    )
    dump.load()
    assert dump.types("none") == {"id": "integer", "day": "date"}
    assert dump.types("t")["never"] == "boolean"
    assert dump.ask("select count(*), count(note), count(late), count(never) from raw.t") == [
        (8001, 8000, 1, 0)
    ]


def test_parquet_values_arrive_as_they_are_stored(dump: Dump) -> None:
    widest = Decimal("12345678901234567890123456789012345678901234567.89")
    moment = 1_700_000_000_123_456_000
    table = pa.table(
        {
            "id": pa.array([1, 2], pa.int8()),
            "u16": pa.array([65535, None], pa.uint16()),
            "u32": pa.array([4294967295, None], pa.uint32()),
            "u64": pa.array([18446744073709551615, None], pa.uint64()),
            "f16": pa.array([1.5, None], pa.float16()),
            "f32": pa.array([16777216, 0.1], pa.float32()),
            "f64": pa.array([0.1, float("-inf")]),
            "money": pa.array([Decimal("1.50"), None], pa.decimal128(10, 2)),
            "small": pa.array([Decimal("-0.01"), None], pa.decimal256(9, 2)),
            "widest": pa.array([widest, Decimal("1E-2")], pa.decimal256(50, 2)),
            "flag": pa.array([True, None]),
            "day": pa.array([0, 2**31 - 1], pa.int32()).cast(pa.date32()),
            "at": pa.array([moment // 1000, None], pa.timestamp("us")),
            "seconds": pa.array([1_700_000_000, None], pa.timestamp("s")),
            "zoned": pa.array([moment // 1000, None], pa.timestamp("us", "Asia/Kolkata")),
            "nanos": pa.array([moment + 789, moment], pa.timestamp("ns")),
            "zoned_nanos": pa.array([moment + 1, moment + 2], pa.timestamp("ns", "UTC")),
            "clock": pa.array([3_600_000_000_001, None], pa.time64("ns")),
            "bytes": pa.array([b"\x00\xff\\x", b""]),
            "text": pa.array(["é\0\n\\N", ""]),
            "word": pa.array(["a", None]).dictionary_encode(),
            "void": pa.array([None, None]),
            "list": pa.array([[Decimal("0.10"), None], []], pa.list_(pa.decimal128(20, 2))),
            "row": pa.array([{"a": 1, "b": ["x"]}, None]),
        }
    )
    pq.write_table(table, dump.folder / "t.parquet")
    dump.write("schema.yml", "tables:\n  t:\n    key: id\n")
    result = dump.load()
    assert list(dump.types("t").values()) == [
        *("smallint", "integer", "bigint", "decimal(20,0)", "double", "double", "double"),
        *("decimal(10,2)", "decimal(9,2)", "varchar", "boolean", "date"),
        *["timestamp"] * 5,
        *("varchar", "blob", *["varchar"] * 5),
    ]
    first, second = dump.ask(
        "select columns(* exclude (bytes, _loaded_at, _batch_id, _deleted_at))::varchar"
        " from raw.t order by id"
    )
    assert first == (
        *("1", "65535", "4294967295", "18446744073709551615", "1.5", "16777216.0", "0.1"),
        *("1.50", "-0.01", str(widest), "true", "1970-01-01", "2023-11-14 22:13:20.123456"),
        *("2023-11-14 22:13:20", *["2023-11-14 22:13:20.123456"] * 3, "01:00:00.000000001"),
        *("é\0\n\\N", "a", None, "[0.10,null]", '{"a":1,"b":["x"]}'),
    )
    assert second[5:7] == ("0.10000000149011612", "-inf")
    assert second[9] == "0.01"
    assert second[11] is None
    assert second[-6:] == (None, "", None, None, "[]", None)
    assert dump.ask("select bytes from raw.t order by id") == [(b"\x00\xff\\x",), (b"",)]
    issues = {
        (column, reason): (issue.count, issue.sample_key)
        for (column, reason), issue in result.tables[0].issues.found.items()
    }
    assert issues == {
        ("day", "infinite or not a number, loaded as null"): (1, "2"),
        ("nanos", "nanoseconds cut off a timestamp"): (1, "1"),
        ("zoned_nanos", "nanoseconds cut off a timestamp"): (2, "1"),
        ("widest", "decimal(50,2) loaded as text: more than 38 digits"): (2, None),
    }


def test_nested_values_of_parquet_are_json(dump: Dump) -> None:
    """Valid, and exact: what JSON cannot write is null, and counted."""
    row = pa.struct([("a", pa.decimal128(5, 2)), ('q"', pa.list_(pa.float64()))])
    nanos = pa.array([[1_700_000_000_123_456_789, None]], pa.list_(pa.int64()))
    columns = {
        "decimals": (
            pa.array([[Decimal(".05"), None]], pa.list_(pa.decimal128(3, 2))),
            "[0.05,null]",
        ),
        "doubles": (pa.array([[float("nan"), -float("inf"), 1e20, 0.1]]), "[null,null,1e+20,0.1]"),
        "row": (
            pa.array([{"a": Decimal(".50"), 'q"': [float("inf")]}], row),
            '{"a":0.50,"q\\"":[null]}',
        ),
        "nanos": (
            nanos.cast(pa.list_(pa.timestamp("ns"))),
            '["2023-11-14 22:13:20.123456789",null]',
        ),
        "zoned": (
            nanos.cast(pa.list_(pa.timestamp("ns", "Asia/Tokyo"))),
            '["2023-11-14 22:13:20.123456789+00",null]',
        ),
        "texts": (pa.array([["\x01NaN", 'é"\\', "\n"]]), r'["\u0001NaN","é\"\\","\n"]'),
        "bytes": (pa.array([[b"\x00\xff"]]), r'["\\x00ff"]'),
        "named": (
            pa.array([[("k", 1), ("m", None)]], pa.map_(pa.string(), pa.int8())),
            '{"k":1,"m":null}',
        ),
        "pairs": (pa.array([[(2, "x")]], pa.map_(pa.int8(), pa.string())), '[[2,"x"]]'),
        "deep": (
            pa.array(
                [[{"a": [[2**64 - 1]]}]],
                pa.list_(pa.struct([("a", pa.list_(pa.list_(pa.uint64())))])),
            ),
            '[{"a":[[18446744073709551615]]}]',
        ),
        "fixed": (pa.array([[1, 2]], pa.list_(pa.int8(), 2)), "[1,2]"),
        "words": (pa.array([["a"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))), '["a"]'),
        "span": (pa.array([-1_500_000_001], pa.duration("ns")), "PT-1.500000001S"),
        "plain": (pa.array(["\x01"]).dictionary_encode(), "\x01"),
    }
    names = list(columns)
    table = pa.table(
        {n: pa.concat_arrays([a, pa.nulls(1, a.type)]) for n, (a, _) in columns.items()}
    )
    pq.write_table(table.append_column("id", pa.array([7, 8])), dump.folder / "t.parquet")
    dump.write("schema.yml", "tables: {t: {key: id}}")
    result = dump.load()
    whole, empty = dump.ask(f"select {', '.join(names)} from raw.t order by id")
    assert dict(zip(names, whole, strict=True)) == {n: text for n, (_, text) in columns.items()}
    assert set(empty) == {None}
    for name, text in zip(names, whole, strict=True):
        if name not in ("span", "plain"):
            json.loads(text)
    lost = "infinite or not a number, loaded as null"
    assert {
        where: (issue.count, issue.sample_key)
        for where, issue in result.tables[0].issues.found.items()
    } == {("doubles", lost): (1, "7"), ("row", lost): (1, "7")}


def test_a_reference_system_that_is_not_loaded_is_counted(dump: Dump) -> None:
    """GeoParquet states it for a column; WKB has no place for it."""
    names = ("default", "lambert", "local", "none")
    geo = {
        "default": {"encoding": "WKB", "crs": {"id": {"authority": "OGC", "code": "CRS84"}}},
        "lambert": {"encoding": "WKB", "crs": {"id": {"authority": "EPSG", "code": 2154}}},
        "local": {"encoding": "WKB", "crs": {"name": "site plan"}},
        "none": {"encoding": "WKB", "crs": None},
    }
    table = pa.table({name: [b"\1", b"\2"] for name in names})
    metadata = {"geo": json.dumps({"columns": geo})}
    pq.write_table(table.replace_schema_metadata(metadata), dump.folder / "t.parquet")
    (entry,) = dump.load().tables
    assert set(dump.types("t").values()) == {"blob"}
    assert {where: issue.count for where, issue in entry.issues.found.items()} == {
        ("lambert", "binary in EPSG:2154 loaded without its reference system"): 2,
        ("local", "binary in site plan loaded without its reference system"): 2,
    }
    pq.write_table(table.replace_schema_metadata({"geo": "{"}), dump.folder / "t.parquet")
    assert dump.load().issue_count == 0


def test_parquet_that_is_none_or_holds_a_name_twice(dump: Dump) -> None:
    dump.write("t.parquet", b"PAR1 and no more")
    assert dump.refusal().startswith("t.parquet cannot be read as Parquet: ")
    one = pa.array([1])
    pq.write_table(pa.Table.from_arrays([one, one], ["a", "a"]), dump.folder / "t.parquet")
    assert dump.refusal() == "t.parquet: the column a appears twice in the schema."
    text = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")]
    )
    pq.write_table(pa.table({"a": text}), dump.folder / "t.parquet")
    assert "t.parquet cannot be read as Parquet: " in dump.refusal()


ACCEPTED = {
    "boolean": (["t", "FALSE", "1", "no value"], ["true", "false", "true", None]),
    "smallint": (["-32768", "+7", "007"], ["-32768", "7", "7"]),
    "integer": (["2147483647"], ["2147483647"]),
    "bigint": (["-9223372036854775808"], ["-9223372036854775808"]),
    "decimal(5,2)": (
        ["-999.99", "1", ".5", "1.100", "+2."],
        ["-999.99", "1.00", "0.50", "1.10", "2.00"],
    ),
    "decimal(38,38)": (["-0." + "9" * 38], ["-." + "9" * 38]),
    "double": (
        ["1e5", "-0", "NaN", "-Infinity", "4.9e-324", ".1"],
        ["100000.0", "-0.0", "nan", "-inf", "5e-324", "0.1"],
    ),
    "date": (["2024-02-29", "9999-12-31"], ["2024-02-29", "9999-12-31"]),
    "timestamp": (
        [
            "2024-02-29",
            "2024-02-29 10:20",
            "2024-02-29T10:20:30.5+02:00",
            "2024-01-01T00:00:00Z",
            "2024-01-01 00:00:00-0530",
            "2024-01-01 01:00:00.000001+01",
        ],
        [
            "2024-02-29 00:00:00",
            "2024-02-29 10:20:00",
            "2024-02-29 08:20:30.5",
            "2024-01-01 00:00:00",
            "2024-01-01 05:30:00",
            "2024-01-01 00:00:00.000001",
        ],
    ),
    "text": (["007", "NULL", " x "], ["007", "NULL", " x "]),
    "binary": (["\\x00ff", "0xC3", "5c", '""'], ["\\x00\\xFF", "\\xC3", "\\x5C", ""]),
}


@pytest.mark.parametrize("kind", ACCEPTED)
def test_a_declared_type_takes_what_fits(dump: Dump, kind: str) -> None:
    values, shown = ACCEPTED[kind]
    lines = [f"{n},{'' if value == 'no value' else value}" for n, value in enumerate(values)]
    dump.write("t.csv", "n,x\n" + "\n".join(lines))
    dump.write("schema.yml", f"tables: {{t: {{columns: {{n: integer, x: '{kind}'}}}}}}")
    dump.load()
    held = dump.ask("select cast(x as varchar) from raw.t order by n")
    assert [value for (value,) in held] == shown


REFUSED = {
    "boolean": ["yes", '""', "2", " true"],
    "smallint": ["32768", "1.0", "1e3", " 1", '""', "0x10", "1_000", "\u0661"],
    "integer": ["2147483648", "-"],
    "bigint": ["9223372036854775808"],
    "decimal(5,2)": ["1000", "1.005", "1e2", "NaN", ".", '"1,5"'],
    "double": ["1e999", "abc", "inf", "1,5".replace(",", " ")],
    "date": ["2024-02-30", "2024-2-3", "29.02.2024", "2024-02-29 00:00:00", "10000-01-01"],
    "timestamp": ["2024-01-01 24:00:00", "2024-01-01 00:00:60", "2024-02-30 00:00:00"],
    "binary": ["5", "xyz", "0x"[:1]],
}
REFUSED["timestamp"] += ["2024-01-01 00:00:00.1234567", "2024-01-01 10:00 CET", "10:00"]


@pytest.mark.parametrize(("kind", "value"), [(k, v) for k, vs in REFUSED.items() for v in vs])
def test_a_value_that_does_not_fit_is_named_with_its_line(
    dump: Dump, kind: str, value: str
) -> None:
    dump.write("t.csv", f'note,x\n"two\nlines",\nok,\nbad,{value}\nworse,{value}\n')
    dump.write("schema.yml", f"tables: {{t: {{columns: {{note: text, x: '{kind}'}}}}}}")
    assert dump.refusal() == (
        f"t.csv, line 5: {value.strip(chr(34))!r} in the column x does not fit {kind}."
    )


def test_a_json_value_that_does_not_fit_is_named(dump: Dump) -> None:
    dump.write("t.jsonl", '{"x": 1}\n\n{"x": [2]}\n')
    dump.write("schema.yml", "tables: {t: {columns: {x: integer}}}")
    assert dump.refusal() == "t.jsonl, line 3: '[2]' in the column x does not fit integer."


def test_zero_dates_are_null_and_counted(dump: Dump) -> None:
    """As from MySQL itself; a dump of a shop with such a date must load as the shop does."""
    dump.write("t.csv", "id,day,moment\n1,0000-00-00,2024-00-01 10:00:00\n2,2024-01-00,\n")
    dump.write(
        "schema.yml", "tables: {t: {key: id, columns: {id: integer, day: date, moment: timestamp}}}"
    )
    result = dump.load()
    assert dump.ask("select id, day, moment from raw.t order by id") == [
        (1, None, None),
        (2, None, None),
    ]
    assert {k[0]: v.count for k, v in result.tables[0].issues.found.items()} == {
        "day": 2,
        "moment": 1,
    }
    with pytest.raises(LoadError, match="--strict"):
        dump.load(strict=True)


SCHEMAS = {
    "tables: [": "is not YAML: ",
    "": "there must be names with something below each",
    "orders: {}": "orders is not a key here; use tables.",
    "tables: {u: {columns: {a: text}}}": "lists the table u, but",
    "tables: {t: {colums: {a: text}}}": "table t: colums is not a key here; use columns or key.",
    "tables: {t: {columns: {a: int, b: text}}}": "table t, column a: int is not a type; use one of",
    "tables: {t: {columns: {a: 'decimal(39,2)', b: text}}}": "decimal(39,2) is not a type",
    "tables: {t: {columns: {a: 'decimal(2,3)', b: text}}}": "decimal(2,3) is not a type",
    "tables: {t: {columns: {a: decimal, b: text}}}": "column a: decimal is not a type",
    "tables: {t: {columns: {a: 'text(3,1)', b: text}}}": "text(3,1) is not a type",
    "tables: {t: {columns: {a: , b: text}}}": "column a:  is not a type",
    "tables: {t: {columns: {a: text}}}": "table t: the column b of t.csv is not listed.",
    "tables: {t: {columns: {a: text, b: text, c: text}}}": "table t: t.csv has no column c.",
    "tables: {t: {key: {a: 1}}}": "table t: write the key as a list of column names",
    "tables: {t: {key: [a, z]}}": "table t: the key names z, which t.csv does not have.",
    "tables: {p: {columns: {x: text}}}": "table p: a Parquet file has types of its own",
}


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_mistake_in_the_schema_file_is_named(dump: Dump, schema: str) -> None:
    dump.write("t.csv", "a,b\n1,2\n")
    pq.write_table(pa.table({"x": [1]}), dump.folder / "p.parquet")
    path = dump.write("schema.yml", schema)
    said = dump.refusal()
    assert SCHEMAS[schema] in said
    assert "\n" not in said
    # The same file elsewhere, by its name.
    path.rename(dump.folder.parent / "types.yml")
    said = dump.refusal(f"?schema={dump.folder.parent / 'types.yml'}")
    assert SCHEMAS[schema] in said and "types.yml" in said


def test_a_schema_file_that_is_not_there(dump: Dump) -> None:
    dump.write("t.csv", "a\n1\n")
    assert "missing.yml cannot be read" in dump.refusal("?schema=missing.yml")


def test_odd_column_names_can_be_declared(dump: Dump) -> None:
    dump.write("t.csv", 'no,2024,"a ""b"", c",Größe,select\n01,2,3,4,5\n')
    columns = "{no: text, 2024: integer, 'a \"b\", c': integer, Größe: bigint, select: smallint}"
    dump.write("schema.yml", f"tables: {{t: {{key: '2024', columns: {columns}}}}}")
    dump.load()
    assert dump.types("t") == {
        "no": "varchar",
        "2024": "integer",
        'a "b", c': "integer",
        "größe": "bigint",
        "select": "smallint",
    }


KEYS = {
    "a,b\n1,x\n2,y\n1,x\n2,y\n": "t.csv, line 4: the key a, b is 1, x, as line 2 has it already.",
    'a,b\n1,"x\n"\n2,\n': "t.csv, line 4: the key column b has no value.",
    "a,b\n1,x\n01,x\n": "t.csv, line 3: the key a, b is 1, x, as line 2 has it already.",
}


@pytest.mark.parametrize("content", KEYS)
def test_a_key_must_be_unique_and_whole(dump: Dump, content: str) -> None:
    dump.write("t.csv", content)
    dump.write("schema.yml", "tables: {t: {key: [a, b], columns: {a: integer, b: text}}}")
    assert dump.refusal() == KEYS[content]


def _changes(result: LoadResult) -> tuple[int, int, int, int]:
    changes = result.tables[0].changes
    return changes.inserted, changes.updated, changes.deleted, changes.live


@pytest.mark.parametrize("key", [True, False])
def test_the_next_dump_writes_only_what_changed(dump: Dump, key: bool) -> None:
    if key:
        dump.write("schema.yml", "tables: {orders: {key: [id]}}")
    dump.write("orders.csv", "id,total\n1,1.10\n2,2.20\n3,3.30\n")
    assert _changes(dump.load()) == (3, 0, 0, 3)
    stamps: dict[int, Any] = dict(dump.ask("select id, _loaded_at from raw.orders"))

    assert _changes(dump.load()) == (0, 0, 0, 3)
    dump.write("orders.csv", "id,total\n4,4.40\n2,2.21\n3,3.30\n")
    changes = _changes(dump.load(max_delete_share=1))
    assert changes == ((1, 1, 1, 3) if key else (2, 0, 2, 3))
    # The same rows in Parquet are the same rows.
    (dump.folder / "orders.csv").unlink()
    amounts = pa.array([Decimal("3.30"), Decimal("2.21"), Decimal("4.40")], pa.decimal128(18, 2))
    pq.write_table(
        pa.table({"id": pa.array([3, 2, 4], pa.int32()), "total": amounts}),
        dump.folder / "orders.parquet",
    )
    assert _changes(dump.load()) == (0, 0, 0, 3)
    rows = dump.ask("select id, total, _loaded_at from raw.orders where _deleted_at is null")
    assert {(n, str(total)) for n, total, _ in rows} == {(2, "2.21"), (3, "3.30"), (4, "4.40")}
    assert {n for n, _, loaded in rows if stamps.get(n) == loaded} == {3}


def test_a_greater_amount_does_not_change_the_type(dump: Dump) -> None:
    dump.write("t.csv", "total\n9.99\n")
    dump.load()
    dump.write("t.csv", "total\n1234567.89\n")
    dump.load(max_delete_share=1)
    assert dump.types("t") == {"total": "decimal(18,2)"}


def test_a_dump_without_values_does_not_change_the_types(dump: Dump) -> None:
    content = "id,day,total,note\n1,2024-02-29,1.50,x\n2,2024-03-01,,\n"
    dump.write("t.csv", content)
    dump.load()
    types = dump.types("t")
    dump.write("t.csv", content.splitlines()[0])
    frozen = TableOptions(policy="freeze")
    assert _changes(dump.load(max_delete_share=1, default=frozen)) == (0, 0, 2, 0)
    dump.write("t.csv", content.replace("2024-02-29", "").replace("2024-03-01", ""))
    dump.load(default=frozen)
    dump.write("t.csv", content)
    assert _changes(dump.load(max_delete_share=1, default=frozen))[3] == 2
    assert dump.types("t") == types
    # A type that does change is said, and kept track of.
    dump.write("t.csv", content.replace("2024-02-29", "soon"))
    with pytest.raises(LoadError, match=r"t\.day: type changed from date to text"):
        dump.load(default=frozen)
    dump.load(max_delete_share=1)
    assert dump.types("t") == {**types, "day": "varchar"}


def test_which_files_are_read(dump: Dump, monkeypatch: pytest.MonkeyPatch) -> None:
    dump.write("Orders.csv", "a\n1\n")
    dump.write("lines.2024.jsonl", '{"a": 1}\n')
    dump.write("README.md", "not data")
    dump.write(".hidden.csv", "broken")
    (dump.folder / "old.csv").mkdir()
    assert [e.table.name for e in dump.load().tables] == ["Orders", "lines.2024"]
    assert [e.table.name for e in dump.load(glob="/*.jsonl").tables] == ["lines.2024"]
    assert [e.table.name for e in dump.load(glob="/Orders.csv").tables] == ["Orders"]
    monkeypatch.chdir(dump.folder.parent)
    result = load("file:///dump/O*", DuckDBDestination("raw", dump.warehouse))
    assert [e.table.name for e in result.tables] == ["Orders"]
    # What nobody asked for may be broken.
    dump.write("broken.csv", "a\n1,2\n")
    assert len(dump.load(select=["orders", "LINES*"]).tables) == 2
    with pytest.raises(LoadError, match=r"broken.csv, line 2"):
        dump.load()


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["t.csv", "t.jsonl"], "t.csv and t.jsonl are both the table t"),
        (["t.csv", "t.csv.gz"], "t.csv and t.csv.gz are both the table t"),
        (["t.csv", "T.csv"], "The tables T and t of the source have one name in lower case (t)"),
        (["t.csv", "u.csv.part"], "u.csv.part is not a file that can be read"),
        (["t.csv", "u.csv.zip"], "u.csv.zip is not a file that can be read"),
        (["notes.txt"], "has no file to load: names end in .csv"),
        ([], "has no file to load"),
    ],
)
def test_files_that_cannot_be_told_apart_or_read(
    dump: Dump, names: list[str], sentence: str
) -> None:
    for name in names:
        dump.write(name, gzip.compress(b"a\n1\n") if name.endswith("gz") else "a\n1\n")
    assert sentence in dump.refusal()


def test_a_file_that_is_written_while_it_is_read(dump: Dump) -> None:
    path = dump.write("t.csv", "a,b\n" + "1,2\n" * 200_000)
    dump.write("u.csv", "a\n1\n")
    done = threading.Event()

    def touch() -> None:
        while not done.wait(0.001):
            with path.open("a") as file:
                file.write("3,4\n")

    writer = threading.Thread(target=touch)
    writer.start()
    try:
        said = dump.refusal()
    finally:
        done.set()
        writer.join()
    assert said.startswith("t.csv changed while the files were read, so they are not a snapshot")


def test_a_load_appends_behind_a_cursor(dump: Dump) -> None:
    append: dict[str, Any] = {"default": TableOptions(mode="append", cursor="id")}
    dump.write("log.csv", "id,at\n1,2024-01-01 10:00:00\n2,2024-01-02 10:00:00\n")
    dump.load(**append)
    dump.write("log.csv", "id,at\n2,2024-01-02 10:00:00\n3,2024-01-03 10:00:00\n")
    assert _changes(dump.load(**append)) == (1, 0, 0, 3)


PEAK = r"""
import re, sys
from loader.ranges import Scope
from loader.sources import open_source
from loader.wire import Issues
source = open_source(sys.argv[1])
[table] = source.tables(list)
rows = sum(block.rows for block in source.read(table, Scope(), Issues(table)))
source.close()
# Of this program alone: ru_maxrss would begin with what its parent held when it forked.
[peak] = re.findall(r"^VmHWM:\s+([0-9]+) kB$", open("/proc/self/status").read(), re.M)
print(rows, int(peak) // 1024)
"""


@pytest.mark.long
def test_memory_does_not_grow_with_the_file(dump: Dump) -> None:
    """Peak memory in MB, of 50,000 and of 800,000 lines of 100 bytes, with a key to check."""
    peaks = []
    dump.write("schema.yml", "tables: {t: {key: [id]}}")
    for rows in (50_000, 800_000):
        with (dump.folder / "t.csv").open("w") as file:
            file.write("id,code,note\n")
            file.writelines(f'{n},S{n:012},"{n:070}"\n' for n in range(rows))
        done = subprocess.run(
            [sys.executable, "-c", PEAK, f"file:///{dump.folder}"],
            env={**os.environ, "PYTHONPATH": str(REPO)},
            capture_output=True,
            text=True,
            check=True,
        )
        read, peak = map(int, done.stdout.split())
        assert read == rows
        peaks.append(peak)
    assert peaks[1] < 350
    assert peaks[1] - peaks[0] < 150


@pytest.mark.parametrize(
    ("columns", "lines"), [(150, 100_000), pytest.param(700, 400_000, marks=pytest.mark.long)]
)
def test_many_columns_and_a_row_of_many_megabytes(dump: Dump, columns: int, lines: int) -> None:
    names = [f"c{n}" for n in range(columns)]
    dump.write("wide.csv", ",".join(names) + "\n" + ",".join(map(str, range(columns))) + "\n")
    text = '\\ "quoted"\tand\nbroken\n' * lines
    quoted = text.replace('"', '""')
    dump.write("long.csv", f'id,text\n1,"{quoted}"\n2,x\n')
    dump.write("long_json.jsonl", json.dumps({"id": 1, "text": text}) + "\n")
    dump.load()
    assert dump.ask(f"select c0, {names[-1]} from raw.wide") == [(0, columns - 1)]
    assert dump.ask("select text from raw.long where id = 1") == [(text,)]
    assert dump.ask("select text from raw.long_json") == [(text,)]


@pytest.mark.parametrize(
    ("url", "code", "sentence"),
    [
        ("file://dump", 2, "The file source names no folder"),
        ("file:///", 2, "The file source names no folder"),
        ("file:///dump?separator=;", 2, "?separator= is not an option of file:///dump; use"),
        ("file:///dump?delimiter=||", 2, "?delimiter=||: fields are separated by one ASCII"),
        ('file:///dump?delimiter="', 2, "fields are separated by one ASCII character"),
        ("file:///dump?encoding=latin-99", 2, "?encoding=latin-99 is not known"),
        ("file:///dump?encoding=cp037", 2, "?encoding=cp037 is not known, or ends its lines"),
        ("file:///dump?encoding=punycode", 2, "?encoding=punycode is not known"),
        ("file:///dump?encoding=hex", 2, "?encoding=hex is not known"),
        ("file:///elsewhere", 1, "There is no file elsewhere"),
        ("file:///dump/*.tsv", 1, "There is no file dump/*.tsv"),
        ("file:///dump/%25.csv", 0, "%"),
        ("file:///dump", 0, "%"),
    ],
)
def test_a_request_that_cannot_be_is_one_sentence(
    dump: Dump, url: str, code: int, sentence: str
) -> None:
    dump.write("%.csv", "a\n1\n")
    ran = in_process("--source", url, folder=dump.folder.parent)
    assert ran.code == code, ran.err
    assert sentence in (ran.out if code == 0 else ran.err)


def test_spilled_data_of_a_killed_load_is_swept(dump: Dump, tmp_path: Path) -> None:
    dump.write("t.csv", "a\n1\n")
    temporary = tmp_path / "temporary"
    killed, running, fresh = (temporary / f"loader-files-{n}" for n in ("killed", "on", "new"))
    for folder in (killed, running, fresh):
        folder.mkdir(parents=True)
        (folder / "spilled.tmp").write_bytes(b"x")
    for folder in (killed, running):
        os.utime(folder, (0, 0))
    descriptor = os.open(running, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # As a process: Python looks once for the folder of temporary files.
        ran = as_process("--source", "file:///dump", folder=tmp_path, TMPDIR=str(temporary))
    finally:
        os.close(descriptor)
    assert ran.code == 0, ran.err
    assert sorted(temporary.iterdir()) == [fresh, running]


def test_a_shop_from_files_is_the_shop(dump: Dump, tmp_path: Path) -> None:
    """The sample shop, loaded from its database and from a dump of it, gives the same rows."""
    shop = tmp_path / "shop.sqlite"
    subprocess.run(
        [sys.executable, str(REPO / "scripts" / "sample_source.py"), f"sqlite:///{shop}"],
        check=True,
        capture_output=True,
    )
    load(f"sqlite:///{shop}", DuckDBDestination("raw", dump.warehouse))
    before = {e: dump.ask(f"select * from raw.{e} order by all") for e in ("orders", "payments")}
    types = {table: dump.types(table) for table in before}
    lines = ["tables:"]
    with sqlite3.connect(shop) as connection:
        for table in before:
            cursor = connection.execute(f"select * from {table}")
            names = [column[0] for column in cursor.description]
            text = ",".join(names) + "\r\n"
            for row in cursor:
                fields = ("" if v is None else '"' + str(v).replace('"', '""') + '"' for v in row)
                text += ",".join(fields) + "\r\n"
            dump.write(f"{table}.csv", text)
            key = {"orders": "[orderNumber]", "payments": "[customerNumber, checkNumber]"}[table]
            lines += [f"  {table}:", f"    key: {key}", "    columns:"]
            lines += [
                f"      {name}: {types[table][name.lower()].replace('varchar', 'text')}"
                for name in names
            ]
    dump.write("schema.yml", "\n".join(lines))
    result = dump.load()
    assert [(e.changes.inserted, e.changes.updated, e.changes.deleted) for e in result.tables] == [
        (0, 0, 0)
    ] * 2
    assert {e: dump.ask(f"select * from raw.{e} order by all") for e in before} == before


def test_usage_errors_are_usage_errors(dump: Dump) -> None:
    dump.write("t.csv", "a\n1\n")
    with pytest.raises(UsageError):
        dump.load("?delimiter=xx")
