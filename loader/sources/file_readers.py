"""CSV, JSON Lines and Parquet files as Arrow tables; a bad line is an error that names it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NoReturn, Protocol, cast

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from ..errors import LoadError
from .file_encodings import lines
from .parquet_types import declared_types, held_by_duckdb

# About how many bytes of a text file become one Arrow table.
BATCH_BYTES = 1_000_000
ROWS_PER_BATCH = 10_000
# Otherwise an unclosed quote would collect the rest of the file in memory.
MAX_RECORD_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class TextOptions:
    """How text files are written; `null` is the unquoted field that means null in a CSV file."""

    delimiter: str = ""
    encoding: str = "utf-8"
    null: str = ""


class Reader(Protocol):
    """One file. `names` and `seen` are complete when `batches` has ended."""

    path: Path
    names: list[str]
    # The type of each column in the file's own words (Parquet).
    declared: list[str]
    # How the values of a column of text are written (number, text, boolean); CSV makes no such
    # distinction, so none of its columns is listed.
    seen: dict[str, set[str]]

    def batches(self) -> Iterator[pa.Table]:
        """The rows in file order, in columns c0, c1, ... as `names` lists them; text as text."""

    def place(self, row: int) -> str:
        """The file and the line of a row (counted from 0), for messages."""


def open_reader(path: Path, kind: str, options: TextOptions) -> Reader:
    """The reader for a file's kind: csv, tsv, jsonl or parquet. Raises LoadError."""
    if kind == "parquet":
        return ParquetReader(path)
    if kind == "jsonl":
        return JsonLinesReader(path, options)
    return CsvReader(path, options, default_delimiter="\t" if kind == "tsv" else ",")


def is_empty(path: Path, kind: str) -> bool:
    """Whether a text file has no line at all."""
    return kind in ("csv", "tsv") and next(lines(path, "latin-1"), None) is None


class CsvReader:
    """CSV as RFC 4180 says, with a header; fields may be separated by another character.

    Every record is checked against that grammar before Arrow parses it, because CSV parsers accept
    mistakes, each in its own way: text after a closing quote, one field too many, a stray quote.
    """

    def __init__(self, path: Path, options: TextOptions, default_delimiter: str) -> None:
        self.path = path
        self.declared: list[str] = []
        self.seen: dict[str, set[str]] = {}
        self._options = options
        self._delimiter = (options.delimiter or default_delimiter).encode()
        unquoted = rb'[^"\r\n' + re.escape(self._delimiter) + rb"]*+"
        field = rb'(?:"[^"]*+(?:""[^"]*+)*+"|' + unquoted + rb")"
        self._field = re.compile(field)
        self.names: list[str] = []
        self.names = self._header()
        more = rb"(?:" + re.escape(self._delimiter) + field + rb"){%d}" % (len(self.names) - 1)
        self._record = re.compile(field + more + rb"(?:\r?\n)?")

    def batches(self) -> Iterator[pa.Table]:
        columns = [f"c{n}" for n in range(len(self.names))]
        yield pa.table({name: pa.array([], pa.large_string()) for name in columns})
        gathered: list[bytes] = []
        size = 0
        for _, record in self._rows():
            gathered.append(record)
            size += len(record)
            if size > BATCH_BYTES:
                yield self._parsed(b"".join(gathered), columns)
                gathered, size = [], 0
        if gathered:
            yield self._parsed(b"".join(gathered), columns)

    def place(self, row: int) -> str:
        number, _ = next(islice(self._rows(), row, None))
        return f"{self.path}, line {number}"

    def _parsed(self, data: bytes, columns: list[str]) -> pa.Table:
        return pyarrow.csv.read_csv(
            pa.py_buffer(data),
            read_options=pyarrow.csv.ReadOptions(column_names=columns, block_size=len(data) + 1),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=self._delimiter.decode(),
                newlines_in_values=True,
                ignore_empty_lines=False,
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.large_string()),
                null_values=[self._options.null],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )

    def _header(self) -> list[str]:
        start, record = next(self._records(), (0, b""))
        if not start:
            raise LoadError(
                f"{self.path} is empty, without a header: write the line with the column"
                " names, or remove the file."
            )
        names = self._split(start, record)
        where = f"{self.path}, line {start}"
        for position, name in enumerate(names):
            if not name:
                raise LoadError(f"{where}: column {position + 1} of the header has no name.")
            if name in names[:position]:
                raise LoadError(f"{where}: the column {name} appears twice in the header.")
        other = re.search(r"[,;\t|]", names[0])
        if len(names) == 1 and other and not record.startswith(b'"'):
            raise LoadError(
                f"{where}: the header is one column {names[0]!r}; if {other[0]!r} separates the"
                " columns, say so with ?delimiter= in the source URL, else put the name in quotes."
            )
        return names

    def _rows(self) -> Iterator[tuple[int, bytes]]:
        """The records after the header, each with its line; empty lines only at the end."""
        blank = 0
        for start, record in islice(self._records(), 1, None):
            whole = self._record.fullmatch(record) is not None
            if not whole and not record.strip(b"\r\n"):
                blank = blank or start
                continue
            if blank:
                raise LoadError(f"{self.path}, line {blank}: the line is empty.")
            if not whole:
                self._explain(start, record)
            yield start, record

    def _records(self) -> Iterator[tuple[int, bytes]]:
        """Lines, joined where a quoted field goes on, each with the number of its first line."""
        record = bytearray()
        start = 0
        for number, line in lines(self.path, self._options.encoding):
            closes = line.count(b'"') % 2 == 1
            if not record and not closes:
                yield number, line
                continue
            if not record:
                start, closes = number, False
            record += line
            if closes:
                yield start, bytes(record)
                record.clear()
            elif len(record) > MAX_RECORD_BYTES:
                break
        if record:
            self._split(start, bytes(record))
            raise LoadError(f"{self.path}, line {start}: a quote is opened and never closed.")

    def _explain(self, start: int, record: bytes) -> NoReturn:
        fields = self._split(start, record)
        raise LoadError(
            f"{self.path}, line {start}: {len(fields)} fields, but the header has"
            f" {len(self.names)} columns."
        )

    def _split(self, start: int, record: bytes) -> list[str]:
        """The fields of one record; raises LoadError at the first malformed one."""
        body = re.sub(rb"\r?\n\Z", b"", record)
        fields: list[str] = []
        position = 0
        while match := self._field.match(body, position):
            raw, position = match[0], match.end()
            if raw.startswith(b'"'):
                raw = raw[1:-1].replace(b'""', b'"')
            fields.append(raw.decode())
            if position == len(body):
                break
            found = body[position : position + 1]
            if found != self._delimiter:
                self._refuse_field(start, len(fields), match[0], found)
            position += 1
        return fields

    def _refuse_field(self, start: int, position: int, before: bytes, found: bytes) -> NoReturn:
        name = f" ({self.names[position - 1]})" if position <= len(self.names) else ""
        if before.startswith(b'"'):
            what = "has text after its closing quote: double the quotes that belong to the text"
        elif found == b'"' and before:
            what = "has a quote inside: put the whole field in quotes and double those inside"
        elif found == b'"':
            what = "opens a quote that is never closed"
        else:
            what = "has a carriage return outside quotes: end lines with a newline"
        raise LoadError(f"{self.path}, line {start}: field {position}{name} {what}.")


Row = dict[str, str | bool | None]


class Number(str):
    """A JSON number as it is written, so that it is never converted to a double."""


class JsonLinesReader:
    """One JSON object a line. Numbers and nested values stay as they are written."""

    def __init__(self, path: Path, options: TextOptions) -> None:
        self.path = path
        self.names: list[str] = []
        self.declared: list[str] = []
        self.seen: dict[str, set[str]] = {}
        self._options = options
        self._decoder = json.JSONDecoder(
            parse_float=Number,
            parse_int=Number,
            parse_constant=_refuse_constant,
            object_pairs_hook=_object,
        )

    def batches(self) -> Iterator[pa.Table]:
        rows: list[Row] = []
        size = 0
        for number, line in self._rows():
            rows.append(self._row(number, line))
            size += len(line)
            if size > BATCH_BYTES:
                yield self._table(rows)
                rows, size = [], 0
        if rows:
            yield self._table(rows)

    def place(self, row: int) -> str:
        number, _ = next(islice(self._rows(), row, None))
        return f"{self.path}, line {number}"

    def _rows(self) -> Iterator[tuple[int, str]]:
        for number, line in lines(self.path, self._options.encoding):
            if not line.isspace():
                yield number, line.decode()

    def _row(self, number: int, line: str) -> Row:
        try:
            values = self._decoder.decode(line)
            if not isinstance(values, dict):
                raise ValueError("the line is not a JSON object")
            if any(isinstance(value, dict | list) for value in values.values()):
                values = self._with_nested_text(line, values)
            if "\\u" in line:
                "".join(f"{name}{value}" for name, value in values.items()).encode()
        except json.JSONDecodeError as error:
            reason = f"{error.msg} at character {error.colno}"
        except UnicodeEncodeError:
            reason = "half of a surrogate pair is not a character"
        except RecursionError:
            reason = "the values are nested too deep"
        except ValueError as error:
            reason = str(error)
        else:
            return cast(Row, values)
        raise LoadError(f"{self.path}, line {number}: {reason}.")

    def _with_nested_text(self, line: str, values: dict[str, object]) -> Row:
        """The values of a line, with objects and arrays as text."""
        texts: Row = {}
        position = _SPACE.match(line, line.index("{") + 1).end()  # type: ignore[union-attr]
        while len(texts) < len(values):
            name, position = self._decoder.raw_decode(line, position)
            start = _PAST_COLON.match(line, position).end()  # type: ignore[union-attr]
            value, position = self._decoder.raw_decode(line, start)
            nested = isinstance(value, dict | list)
            texts[name] = line[start:position] if nested else value
            position = _PAST_COMMA.match(line, position).end()  # type: ignore[union-attr]
            if nested:
                self.seen.setdefault(name, set()).add("nested")
        return texts

    def _table(self, rows: list[Row]) -> pa.Table:
        known = dict.fromkeys(self.names)
        for row in rows:
            known.update(dict.fromkeys(row))
        self.names = list(known)
        columns = {}
        for position, name in enumerate(self.names):
            values = [row.get(name) for row in rows]
            types = set(map(type, values))
            seen = self.seen.setdefault(name, set())
            seen.update(_SEEN[kind] for kind in types if kind in _SEEN)
            if bool in types:
                spelled = {True: "true", False: "false"}
                values = [spelled[v] if isinstance(v, bool) else v for v in values]
            columns[f"c{position}"] = pa.array(values, pa.large_string())
        return pa.table(columns)


_SEEN = {str: "text", Number: "number", bool: "boolean"}
_SPACE = re.compile(r"[ \t\r\n]*")
_PAST_COLON = re.compile(r"[ \t\r\n]*:[ \t\r\n]*")
_PAST_COMMA = re.compile(r"[ \t\r\n]*,?[ \t\r\n]*")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for n, name in enumerate(names) if name in names[:n])
        raise ValueError(f"the key {twice} appears twice in one object")
    return values


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


class ParquetReader:
    """Parquet through Arrow, which is exact where DuckDB's own reader rounds.

    These are decimals beyond 38 digits (DuckDB makes doubles of them) and nanoseconds with a time
    zone, or in the old 96-bit form.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: dict[str, set[str]] = {}
        try:
            schema = pyarrow.parquet.read_schema(path)
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from None
        self.names: list[str] = schema.names
        self.declared = declared_types(schema)
        for position, name in enumerate(self.names):
            if name in self.names[:position]:
                raise LoadError(f"{path}: the column {name} appears twice in the schema.")

    def batches(self) -> Iterator[pa.Table]:
        columns = [f"c{n}" for n in range(len(self.names))]
        try:
            with pyarrow.parquet.ParquetFile(self.path) as file:
                rows = 0
                yield self._table(file.schema_arrow.empty_table(), columns)
                for batch in file.iter_batches(ROWS_PER_BATCH):
                    batch.validate(full=True)  # text that is not UTF-8
                    rows += batch.num_rows
                    yield self._table(pa.Table.from_batches([batch]), columns)
                if rows != file.metadata.num_rows:
                    raise LoadError(
                        f"{self.path} has {rows} rows, but counts {file.metadata.num_rows} itself:"
                        " write it again."
                    )
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from None

    def place(self, row: int) -> str:
        return f"{self.path}, row {row + 1}"

    def _table(self, table: pa.Table, columns: list[str]) -> pa.Table:
        return pa.table(dict(zip(columns, map(held_by_duckdb, table.columns), strict=True)))

    def _unreadable(self, error: Exception) -> LoadError:
        return LoadError(
            f"{self.path} cannot be read as Parquet: {str(error).strip().rstrip('.')}."
        )
