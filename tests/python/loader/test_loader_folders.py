"""Folders of dumps: parts are one table, and what is not read is named."""

import gzip
import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loader import DuckDBDestination, LoadError, LoadResult, Options, load


class Dumps:
    """A folder of dumps, and a warehouse."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "dumps"
        self.folder.mkdir()
        self.warehouse = folder / "warehouse.duckdb"

    def write(self, name: str, content: str | bytes | pa.Table = "") -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, pa.Table):
            pq.write_table(content, path)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content)

    def load(self, below: str = "", **options: Any) -> LoadResult:
        url = f"file:///{self.folder}{below}"
        return load(url, DuckDBDestination("raw", self.warehouse), Options(**options))

    def refused(self, below: str = "") -> str:
        with pytest.raises(LoadError) as caught:
            self.load(below)
        return str(caught.value).replace(f"{self.folder}/", "")

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.warehouse), read_only=True) as connection:
            found: list[tuple[Any, ...]] = connection.execute(
                f"select * exclude (_loaded_at, _batch_id, _deleted_at) from raw.{table}"
                " where _deleted_at is null order by all"
            ).fetchall()
        return found


@pytest.fixture
def dumps(tmp_path: Path) -> Dumps:
    return Dumps(tmp_path)


def numbers(*values: int, kind: pa.DataType | None = None) -> pa.Table:
    return pa.table({"id": pa.array(values, kind or pa.int64())})


def test_parts_are_one_table(dumps: Dumps) -> None:
    dumps.write("customers.parquet/part-00000-a.snappy.parquet", numbers(1, 2))
    dumps.write("customers.parquet/part-00001-b.snappy.parquet", numbers(3))
    dumps.write("customers.parquet/.part-00000-a.snappy.parquet.crc", b"\0")
    dumps.write("customers.parquet/_SUCCESS")
    dumps.write("offices/part-0001.csv", "id,city\n1,Lyon\n")
    dumps.write("offices/part-0002.csv", "id,city\n2,\n")
    dumps.write("offices/part-0003.csv", "")  # Spark's, without rows
    dumps.write("offices/part-0004.csv.gz", gzip.compress(b"id,city\n3,Bonn\n"))
    dumps.write("events/part-0.jsonl", '{"a": 1}\n{"a": "x"}\n')
    dumps.write("events/part-1.jsonl", '{"b": [0.50]}\n')
    dumps.write("lines/0000_part_00.parquet", numbers(7))
    dumps.write("lines/0001_part_00.parquet", numbers())
    dumps.write("orders.csv", "id\n1\n")
    dumps.write("schema.yml", json.dumps({"tables": {"offices": {"key": ["id"]}}}))
    result = dumps.load()
    assert result.left_out == {}
    assert {e.table.name: e.rows_read for e in result.tables} == {
        "customers": 3,
        "events": 3,
        "lines": 1,
        "offices": 3,
        "orders": 1,
    }
    assert dumps.rows("customers") == [(1,), (2,), (3,)]
    assert dumps.rows("offices") == [(1, "Lyon"), (2, None), (3, "Bonn")]
    assert dumps.rows("events") == [("1", None), ("x", None), (None, "[0.50]")]
    # A part that goes takes its rows along; one that comes brings some.
    (dumps.folder / "offices/part-0002.csv").unlink()
    dumps.write("offices/part-0005.csv", "id,city\n4,Rome\n")
    changes = {e.table.name: e.changes for e in dumps.load().tables}["offices"]
    assert (changes.inserted, changes.updated, changes.deleted) == (1, 0, 1)
    # The URL may name the folder of one table.
    for below in ("/offices", "/off*", "/offices/"):
        assert [e.table.name for e in dumps.load(below).tables] == ["offices"]


def test_a_mistake_in_a_part_is_named(dumps: Dumps) -> None:
    dumps.write("t/part-0.csv", "id,name\n1,a\n")
    dumps.write("t/part-1.csv", "2,b\n")  # Spark writes no header unless it is told to
    assert "t/part-1.csv and " in dumps.refused()
    assert "the name of column 1 is 2 in one and id in the other" in dumps.refused()
    dumps.write("t/part-1.csv", "id,name\n2,b\n3\n")
    assert dumps.refused().startswith("t/part-1.csv, line 3: 1 fields")
    dumps.write("t/part-1.csv", "id,name\n2,b\n1,c\n")
    dumps.write("schema.yml", json.dumps({"tables": {"t": {"key": ["id"]}}}))
    said = dumps.refused()
    assert "t/part-1.csv, line 3: the key id is 1, as" in said and "part-0.csv, line 2 has" in said
    (dumps.folder / "schema.yml").unlink()
    dumps.write("t/part-1.csv", "id,name\n2,b\n")
    dumps.write("u/part-0.parquet", numbers(1))
    dumps.write("u/part-1.parquet", numbers(2, kind=pa.int32()))
    assert "int32 in one and int64 in the other" in dumps.refused()
    dumps.write("u/part-1.parquet", numbers(2))
    assert {e.table.name: e.rows_read for e in dumps.load().tables} == {"t": 2, "u": 2}


# What a folder that is not one table has beside its part, and what is said of it.
NOT_ONE_TABLE = {
    "_delta_log/0.json": "_delta_log",
    "_temporary/0/part-1.parquet": "_temporary",
    "_started_123": "_started_123",
    "_spark_metadata/0": "_spark_metadata",
    ".hoodie/hoodie.properties": ".hoodie",
    "metadata/v1.json": "metadata",
    "year=2026/part-0.parquet": "year=2026",
    "notes.txt": "notes.txt",
    "part-1.csv": "several kinds",
}


@pytest.mark.parametrize("beside", NOT_ONE_TABLE)
def test_a_folder_in_which_not_every_file_counts_is_left_out(dumps: Dumps, beside: str) -> None:
    dumps.write("good.csv", "id\n1\n")
    dumps.write("orders/part-0.parquet", numbers(1))
    assert {e.table.name for e in dumps.load().tables} == {"good", "orders"}
    dumps.write(f"orders/{beside}", "id\n1\n")
    result = dumps.load()
    assert {e.table.name for e in result.tables} == {"good"}
    # Not dropped: it is there, but cannot be read.
    assert result.schema_changes == []
    assert NOT_ONE_TABLE[beside] in result.left_out["orders"]
    assert len(dumps.rows("orders")) == 1


def test_what_is_not_read_is_named(dumps: Dumps) -> None:
    dumps.write("orders.csv", "id\n1\n")
    dumps.write("payments.json", '{"id": 1}\n')
    dumps.write("products.txt", "id;name\n1;a\n")
    dumps.write("old.zip", b"PK")
    dumps.write("2025/orders.csv", "id\n1\n")
    dumps.write("2025/customers.csv", "id\n1\n")
    dumps.write("orders/x.csv", "id\n1\n")  # beside a table of that name
    (dumps.folder / "empty").mkdir()
    (dumps.folder / "lost.csv").symlink_to("nowhere.csv")
    dumps.write(".hidden", "")
    dumps.write(".old.csv", "id\n1\n")
    dumps.write("_SUCCESS", "")
    result = dumps.load()
    assert [e.table.name for e in result.tables] == ["orders"]
    why = {name: reason.partition(":")[0] for name, reason in result.left_out.items()}
    assert why == {
        "./orders": "a folder",
        ".old.csv": "a hidden file",
        "2025": "a folder",
        "empty": "an empty folder",
        "lost.csv": "not a file, or a link to one that does not exist",
        "old.zip": "a file of another kind",
        "payments.json": "a file of another kind",
        "products.txt": "a file of another kind",
    }
    excluded = dumps.load(exclude=["*.txt", "*.zip", "2025"])
    named = {"./orders", ".old.csv", "empty", "lost.csv", "payments.json"}
    assert set(excluded.left_out) == named
    assert dumps.load("/*.csv").left_out.keys() == {".old.csv", "lost.csv"}
    # Three slashes begin a relative path.
    with pytest.raises(LoadError, match=f"an absolute path .* file:///{dumps.folder}"):
        load(f"file://{dumps.folder}", DuckDBDestination("raw", dumps.warehouse), Options())
    with pytest.raises(LoadError, match=r"payments\.json .* cannot be loaded: it is a file"):
        dumps.load(select=["payments.json"])


def test_a_part_that_comes_while_the_parts_are_read(
    dumps: Dumps, monkeypatch: pytest.MonkeyPatch
) -> None:
    dumps.write("t/part-0.csv", "id\n1\n")
    check = "loader.sources.files.FileSource._check_key"
    monkeypatch.setattr(check, lambda *_: dumps.write("t/part-1.csv", "id\n2\n"))
    assert dumps.refused().startswith("t changed while the files were read")
