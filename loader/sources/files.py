"""A folder or glob of CSV, JSON Lines and Parquet files, or folders of parts, one for each table.

All files are first copied into a temporary database in memory, which spills to a folder; the copy
is the snapshot. Types come from the schema file, or from all values of a column.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import duckdb
import pyarrow as pa

from ..dialects.duckdb import SETTINGS, line_sql, lines_of, said, wire_sql
from ..dialects.standard import literal
from ..errors import LoadError, UsageError
from ..ranges import Scope
from ..schema import NO_VALUES, TEXT, Column, Table, Type
from ..urls import SourceUrl
from ..wire import Block, Issues, readable
from .base import Source, Wanted
from .file_encodings import known_encoding
from .file_listing import SCHEMA_FILE, DataFile, folder_of, list_files
from .file_parts import open_data
from .file_readers import Reader, TextOptions
from .file_types import Cell, Declared, infer, of_nested, of_text, of_typed, read_schema
from .parquet_types import IN_SYSTEM, NESTED

OPTIONS = ("schema", "delimiter", "encoding", "null")
# Bytes of memory for the copies; more only if a single row needs it.
MEMORY_LIMIT = 50_000_000
MEMORY_PER_BYTE_OF_A_ROW = 16
ROWS_PER_BLOCK = 10_000


def open_source(url: SourceUrl) -> "FileSource":
    """List the files. Raises UsageError for a wrong option, LoadError when there are no files."""
    return FileSource(url)


class FileSource(Source):
    """The files that exist at the start, and copies of the chosen ones."""

    marks_infinity = False

    def __init__(self, url: SourceUrl) -> None:
        self.url = url
        self.warnings: list[str] = []
        self._options = _text_options(url)
        self.left_out: dict[str, str] = {}
        given = url.options.get("schema")
        self._files, self._not_read = list_files(url.database, Path(given) if given else None)
        self._schema_path, self._schema = self._read_schema()
        self._spill = _SpillFolder()
        self._connection = duckdb.connect(config={"temp_directory": str(self._spill.path)})
        self._memory = 0
        self._allow(MEMORY_LIMIT)
        for setting in (*SETTINGS, "timezone = 'UTC'"):
            self._execute(f"set {setting}")

    def close(self) -> None:
        self._connection.close()
        self._spill.remove()

    def tables(self, wanted: Wanted) -> list[Table]:
        """Copy the chosen files and find their types; other files are listed, not read."""
        names = wanted(dict.fromkeys((file.table for file in self._files), "") | self._not_read)
        self.left_out |= {name: why for name, why in self._not_read.items() if name in names}
        chosen = [file for file in self._files if file.table in names]
        before = {file: file.state for file in chosen}
        found = {}
        for number, file in enumerate(chosen):
            try:
                found[file.table] = self._table(f"copy_{number}", file)
            except (duckdb.Error, pa.ArrowException) as error:
                raise LoadError(f"{file.path} cannot be read: {said(error)}.") from None
        for file in chosen:
            if file.state != before[file]:
                raise LoadError(
                    f"{file.path} changed while the files were read, so they are not a snapshot:"
                    " load again when no program writes them."
                )
        return [found.get(f.table) or Table(f.table, f.table.lower(), ()) for f in self._files]

    def count(self, table: Table, scope: Scope) -> int:
        copy, where = table.detail["copy"], _after(table, scope)
        try:
            return int(self._row(f"select count(*) from {copy} where {where}")[0])
        except duckdb.Error as error:
            raise LoadError(f"Counting the table {table.name} failed: {said(error)}.") from None

    def read(self, table: Table, scope: Scope, issues: Issues) -> Iterator[Block]:
        """The rows of a table in the order of its file, or those after a cursor's value."""
        where = _after(table, scope)
        try:
            self._count_losses(table, where, issues)
            query = _lines_sql(table, table.columns, where)
            for data, rows in lines_of(self._connection, query, ROWS_PER_BLOCK):
                yield Block(bytes(data), rows)
        except duckdb.Error as error:
            raise LoadError(f"Reading the table {table.name} failed: {said(error)}.") from None

    def _read_schema(self) -> tuple[Path, dict[str, Declared]]:
        given = self.url.options.get("schema")
        path = Path(given) if given else folder_of(self.url.database) / SCHEMA_FILE
        if not given and not path.is_file():
            return path, {}
        declared = read_schema(path)
        for name in declared:
            if name not in {file.table for file in self._files}:
                raise LoadError(
                    f"The schema file {path} lists the table {name}, but {self.url.database} has"
                    " no file of that name: add the file, or take the table out."
                )
        return path, declared

    def _table(self, copy: str, file: DataFile) -> Table:
        """Copy a file, and describe it as a table."""
        reader = open_data(file, self._options)
        self._copy(copy, reader)
        declared = self._schema.get(file.table, Declared(None, ()))
        where = f"The schema file {self._schema_path}, table {file.table}"
        if declared.columns is not None:
            self._check_columns(copy, file, reader, declared.columns, where)
        for name in declared.key:
            if name not in reader.names:
                raise LoadError(f"{where}: the key names {name}, which {file.path} does not have.")
        if not reader.names:
            raise LoadError(
                f"{file.path} has no rows, so its columns are not known: list them in"
                f" {self._schema_path}."
            )
        described = self._execute(f"describe {copy}").fetchall()
        stored = {name: type_name for name, type_name, *_ in described}
        columns = []
        cells = {}
        for position, name in enumerate(reader.names):
            here = f"c{position}"
            note = None
            if file.kind == "parquet":
                kind, cell = of_typed(here, stored[here])
                said = reader.declared[position]
                if said.startswith(NESTED):
                    cell = of_nested(here)
                if kind is TEXT and said.startswith("decimal"):
                    note = f"{said} loaded as text: more than 38 digits"
                elif IN_SYSTEM in said:
                    note = f"{said} loaded without its reference system"
            elif declared.columns is not None:
                kind = declared.columns[name]
                cell, said = of_text(here, kind), str(kind)
            else:
                kind = infer(self._connection, copy, here, reader.seen.get(name, ()))
                (values,) = self._row(f"select count({here}) from {copy}")
                cell, said = of_text(here, kind), str(kind) if values else NO_VALUES
            cells[name] = cell
            columns.append(Column(name, name.lower(), said, kind, name not in declared.key, note))
        (rows,) = self._row(f"select count(*) from {copy}")
        table = Table(
            name=file.table,
            raw_name=file.table.lower(),
            columns=tuple(columns),
            key=declared.key,
            estimated_rows=rows,
            detail={"copy": copy, "cells": cells},
        )
        if declared.columns is not None:
            self._check_values(table, reader)
        self._check_key(table, reader)
        return table

    def _copy(self, copy: str, reader: Reader) -> None:
        width = 0
        for batch in reader.batches():
            self._allow(MEMORY_PER_BYTE_OF_A_ROW * batch.nbytes)
            self._connection.register("batch", batch)
            if width == 0:
                self._execute(f"create or replace table {copy} as from batch")
            else:
                self._widen(copy, width, batch.num_columns)
                self._execute(f"insert into {copy} from batch")
            self._connection.unregister("batch")
            width = batch.num_columns

    def _allow(self, memory: int) -> None:
        """Raise the limit of memory, in bytes."""
        if memory > self._memory:
            self._memory = memory
            self._execute(f"set memory_limit = '{memory} bytes'")

    def _widen(self, copy: str, before: int, now: int) -> None:
        """Add columns of text: keys that earlier lines did not have."""
        if before == 0 and now > 0:
            self._execute(f"create or replace table {copy} (c0 varchar)")
            before = 1
        for position in range(before, now):
            self._execute(f"alter table {copy} add column c{position} varchar")

    def _check_columns(
        self, copy: str, file: DataFile, reader: Reader, columns: dict[str, Type], where: str
    ) -> None:
        """Both must name the same columns, except for keys that no line of JSON has today."""
        if file.kind == "parquet":
            raise LoadError(f"{where}: a Parquet file has types of its own, leave out its columns.")
        for name in reader.names:
            if name not in columns:
                raise LoadError(f"{where}: the column {name} of {file.path} is not listed.")
        absent = [name for name in columns if name not in reader.names]
        if absent and file.kind != "jsonl":
            raise LoadError(f"{where}: {file.path} has no column {absent[0]}.")
        self._widen(copy, len(reader.names), len(columns))
        reader.names += absent

    def _check_values(self, table: Table, reader: Reader) -> None:
        """Every value must fit its declared type. Raises LoadError for the first that does not."""
        cells = _cells(table)
        tests = [
            f"min(rowid) filter (c{n} is not null and {cells[column.name].value} is null"
            f" and {cells[column.name].mark} is null)"
            for n, column in enumerate(table.columns)
        ]
        rows = self._row(f"select {', '.join(tests)} from {table.detail['copy']}")
        misfits = [(row, n) for n, row in enumerate(rows) if row is not None]
        if not misfits:
            return
        row, n = min(misfits)
        column = table.columns[n]
        (value,) = self._row(f"select c{n} from {table.detail['copy']} where rowid = {row}")
        shown = repr(value) if len(value) <= 60 else f"{value[:60]!r}..."
        raise LoadError(
            f"{reader.place(row)}: {shown} in the column {column.name} does not fit {column.type}."
        )

    def _check_key(self, table: Table, reader: Reader) -> None:
        """The declared key must be unique and never null."""
        cells = _cells(table)
        for name in table.key:
            query = (
                f"select min(rowid) from {table.detail['copy']} where {cells[name].value} is null"
            )
            (row,) = self._row(query)
            if row is not None:
                raise LoadError(f"{reader.place(row)}: the key column {name} has no value.")
        if not table.key:
            return
        values = ", ".join(cells[name].value for name in table.key)
        # Counting can spill to disk, collecting rows cannot: so only rows of duplicate keys are.
        copy = table.detail["copy"]
        twice = self._execute(
            f"select min(rowid, 2) as rows from {copy} where ({values}) in"
            f" (select ({values}) from {copy} group by all having count(*) > 1)"
            f" group by {values} order by rows[2] limit 1"
        ).fetchall()
        if twice:
            ((first, again),) = twice[0]
            where, before = reader.place(again), reader.place(first)
            file = where.rpartition(", ")[0]
            raise LoadError(
                f"{where}: the key {', '.join(table.key)} is {self._key_at(table, again)}, as"
                f" {before.removeprefix(f'{file}, ')} has it already."
            )

    def _key_at(self, table: Table, row: int) -> str | None:
        """The key of a row as a person would write it."""
        if not table.key:
            return None
        (line,) = self._row(_lines_sql(table, table.key_columns, f"rowid = {row}"))
        return ", ".join(map(readable, line.rstrip("\n").encode().split(b"\t")))

    def _count_losses(self, table: Table, where: str, issues: Issues) -> None:
        cells = _cells(table)
        for column in table.columns:
            cell = cells[column.name]
            if cell.lossy is None:
                continue
            count, row = self._row(
                f"select count(*), min(rowid) from {table.detail['copy']}"
                f" where {where} and {cell.lossy}"
            )
            if count:
                issues.add(column, cell.reason, self._key_at(table, row), count)

    def _execute(self, query: str) -> Any:
        return self._connection.execute(query)

    def _row(self, query: str) -> tuple[Any, ...]:
        """The only row of a query. DuckDB 2 refuses other work while a result is not at its end."""
        (row,) = self._execute(query).fetchall()
        return cast(tuple[Any, ...], row)


class _SpillFolder:
    """A folder for what does not fit in memory; it is locked while the load runs.

    Folders of killed loads are not locked, and the next load removes them.
    """

    def __init__(self) -> None:
        prefix = "loader-files-"
        for old in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
            with suppress(OSError):
                if old.stat().st_mtime < time.time() - 60 and (lock := _lock(old)) is not None:
                    shutil.rmtree(old)
                    os.close(lock)
        self.path = Path(tempfile.mkdtemp(prefix=prefix))
        self._lock = _lock(self.path)

    def remove(self) -> None:
        """Remove the folder; safe to call twice."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _lock(folder: Path) -> int | None:
    """A file descriptor that holds the folder's lock, or None when another process has it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _text_options(url: SourceUrl) -> TextOptions:
    for name in url.options:
        if name not in OPTIONS:
            raise UsageError(f"?{name}= is not an option of {url}; use {', '.join(OPTIONS)}.")
    delimiter = url.options.get("delimiter", "")
    if delimiter.lower() == "tab":
        delimiter = "\t"
    if delimiter and (len(delimiter) > 1 or not delimiter.isascii() or delimiter in '"\r\n'):
        raise UsageError(
            f"?delimiter={delimiter}: fields are separated by one ASCII character, not a quote or"
            " the end of a line (a tab is ?delimiter=tab)."
        )
    given = url.options.get("encoding", "utf-8")
    encoding = known_encoding(given)
    if encoding is None:
        raise UsageError(
            f"?encoding={given} is not known, or ends its lines unlike ASCII: name another,"
            " or convert the files to UTF-8."
        )
    return TextOptions(delimiter, encoding, url.options.get("null", ""))


def _after(table: Table, scope: Scope) -> str:
    """The condition for the rows of a scope."""
    if scope.after is None:
        return "true"
    column, last = scope.after
    return f"{_cells(table)[column.name].value} > cast({literal(last)} as {column.type})"


def _lines_sql(table: Table, columns: tuple[Column, ...], where: str) -> str:
    """SQL of rows as wire text."""
    cells = _cells(table)
    values = ", ".join(
        f"{cells[column.name].value} as v{n}, {cells[column.name].mark} as m{n}"
        for n, column in enumerate(columns)
    )
    fields = [
        f"coalesce(m{n}, {wire_sql(f'v{n}', column.type)}, '\\N')"
        for n, column in enumerate(columns)
    ]
    return (
        f"select {line_sql(fields)}"
        f" from (select {values} from {table.detail['copy']} where {where}) as cells"
    )


def _cells(table: Table) -> dict[str, Cell]:
    return cast(dict[str, Cell], table.detail["cells"])
