"""The text of a PostgreSQL database with the encoding SQL_ASCII, which may be in any encoding."""

import codecs
from collections.abc import Iterator

import psycopg

from ..errors import LoadError, UsageError
from ..schema import Table
from ..urls import SourceUrl
from ..wire import Block, escape, key_of, unescape

OPTION = "client_encoding"


def text_encoding(connection: psycopg.Connection, url: SourceUrl) -> str | None:
    """The encoding of the text, if the server does not know it. Raises UsageError."""
    if connection.info.parameter_status("server_encoding") != "SQL_ASCII":
        return None
    given = url.options.get(OPTION, "utf-8")
    for name in (given, given.lower().replace("win", "cp", 1)):
        try:
            return codecs.lookup(name).name
        except LookupError:
            continue
    raise UsageError(f"?{OPTION}={given} is not known: name another, such as latin1 or win1252.")


def decoded(blocks: Iterator[Block], table: Table, encoding: str) -> Iterator[Block]:
    """The same rows in UTF-8. Raises LoadError for the first byte that is not in the encoding."""
    for block in blocks:
        if not block.data.isascii():
            lines = block.data.split(b"\n")[:-1]
            block = Block(
                b"".join(_decoded_line(line, table, encoding) for line in lines), block.rows
            )
        yield block


def _decoded_line(line: bytes, table: Table, encoding: str) -> bytes:
    if line.isascii():
        return line + b"\n"
    fields = line.split(b"\t")
    for position, field in enumerate(fields):
        try:
            if not field.isascii():
                fields[position] = escape(unescape(field).decode(encoding)).encode()
        except UnicodeDecodeError as error:
            key = key_of(fields, table)
            raise LoadError(
                f"PostgreSQL source, reading the source table {table.name}: the byte"
                f" 0x{error.object[error.start]:02X} in the column {table.columns[position].name}"
                f"{f' (for example where the key is {key})' if key else ''} is not {encoding}. The"
                f" database has the encoding SQL_ASCII, so its text may be in any encoding: name"
                f" it with ?{OPTION}=latin1 or another in the source URL."
            ) from None
    return b"\t".join(fields) + b"\n"
