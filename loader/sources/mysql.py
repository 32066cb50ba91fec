"""MySQL and MariaDB.

The server writes the wire text itself. Where a table has an integer key, whole key ranges come as
one `group_concat` of their lines, megabytes at a time, so that the driver is not the bound; other
tables come a line per row. Rows too long for the server's packets come value by value and are
written here.
"""

import re
import ssl
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import pymysql
from pymysql.cursors import SSCursor

from ..errors import LoadError, UsageError
from ..ranges import FEWEST_ROWS, Digest, Digests, Partition, Scope, cut, digests_of, runs
from ..schema import (
    BINARY,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGERS,
    MAX_DECIMAL_DIGITS,
    SMALLINT,
    TEXT,
    TIMESTAMP,
    Column,
    Kind,
    Table,
    Type,
    decimal_type,
    integer_type,
)
from ..urls import SourceUrl, is_local, unencrypted
from ..wire import BLOCK_BYTES, Block, Issues, binary_field, double_sql, escape
from . import Wanted

INTEGER_BITS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
TEXTS = {"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set", "json"}
BINARIES = {"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "vector"}
GEOMETRIES = {
    "geometry",
    "point",
    "linestring",
    "polygon",
    "multipoint",
    "multilinestring",
    "multipolygon",
    "geometrycollection",
    "geomcollection",
}

ROWS_PER_BLOCK = 5_000
# Bytes of text above which the server should not be asked to escape it.
LONG_TEXT = 60_000
# Bytes of a line beside its long values.
PACKET_RESERVE = 1_000_000

SPLIT = "substring_index(substring_index(concat({text}, '{mark}'), '{mark}', {n}), '{mark}', -1)"

URL_OPTIONS = {"tls", "ssl_ca", "ssl_cert", "ssl_key", "unix_socket"}

# Storage engines whose tables take part in a consistent snapshot.
SNAPSHOT_ENGINES = {"InnoDB", "ROCKSDB", "ndbcluster"}

# Tables of which the user has rights on single columns, and on the whole by nothing.
SEEN_BY_COLUMN = """
select distinct c.table_name from information_schema.column_privileges as c
inner join (
    select concat("'", substring_index(current_user(), '@', 1), "'@'",
        substring_index(current_user(), '@', -1), "'") as grantee
) as me on c.grantee = me.grantee
where
    c.table_schema = database()
    and not exists (
        select 1 from information_schema.user_privileges as u
        where u.grantee = me.grantee and u.privilege_type = 'SELECT'
    )
    and not exists (
        select 1 from information_schema.schema_privileges as s
        where
            s.grantee = me.grantee and s.privilege_type = 'SELECT'
            and database() like s.table_schema
    )
    and not exists (
        select 1 from information_schema.table_privileges as t
        where
            t.grantee = me.grantee and t.privilege_type = 'SELECT'
            and t.table_schema = c.table_schema and t.table_name = c.table_name
    )
"""

_DENIED = {1045, 1698}
_GONE = {2003, 2005, 2006, 2013}


def open_source(url: SourceUrl) -> "MySQLSource":
    """Connect and begin a read-only snapshot. Raises LoadError in one sentence."""
    if not url.database:
        raise UsageError(
            f"The source URL names no database: write {url.scheme}://user:password@host:port/database."
        )
    unknown = set(url.options) - URL_OPTIONS
    if unknown or url.options.get("tls", "on") != "on":
        # A misspelt wish for TLS must not become a connection without it.
        raise UsageError(
            f"The source URL has an unknown option ({', '.join(sorted(unknown)) or 'tls'}):"
            " use tls=on, ssl_ca, ssl_cert, ssl_key or unix_socket."
        )
    return MySQLSource(url)


class MySQLSource:
    """One connection in one consistent snapshot: no locks, all tables as of one moment."""

    marks_infinity = False

    def __init__(self, url: SourceUrl) -> None:
        self.url = url
        self._connection = _connect(url)
        self._cursor = self._connection.cursor()
        self.warnings: list[str] = []
        # By table; each costs a scan, and nothing changes in the snapshot.
        self._long_text: dict[str, bool] = {}
        if not is_local(url.host) and not self._rows("show status like 'Ssl_cipher'")[0][1]:
            self.warnings.append(unencrypted("source", url.host))
        # No sql_mode: backslash escapes work and char columns are not padded. UTC: a timestamp is
        # an instant. Patience: the warehouse may be slower than the server's 60 s.
        self._run(
            "set session sql_mode = '', time_zone = '+00:00', group_concat_max_len = 4294967295,"
            " net_write_timeout = 3600, net_read_timeout = 3600"
        )
        self._run("set session transaction isolation level repeatable read")
        self._run("start transaction with consistent snapshot, read only")

    def close(self) -> None:
        """Leave the snapshot and the server."""
        # Not a polite goodbye: an unread result would have to be read to its end first.
        self._connection._force_close()  # type: ignore[attr-defined]

    def tables(self, wanted: Wanted) -> list[Table]:
        """Base tables of the database, and the views that `wanted` asks for."""
        found = self._rows(
            "select table_name, table_type, engine, table_rows from information_schema.tables"
            " where table_schema = database() and table_type in ('BASE TABLE', 'VIEW')"
            " order by table_name"
        )
        chosen = wanted({name: kind == "VIEW" for name, kind, _, _ in found})
        columns: dict[str, list[Column]] = {}
        details: dict[str, dict[str, dict[str, Any]]] = {}
        shown_in_part = {name for (name,) in self._rows(SEEN_BY_COLUMN)}
        for name, position, column, details_of in self._columns():
            columns.setdefault(name, []).append(column)
            details.setdefault(name, {})[column.name] = details_of
            if position > len(columns[name]):
                # The catalog leaves out what the user may not read, but not its place.
                shown_in_part.add(name)
        keys = self._keys(columns)
        tables = []
        for name, table_type, engine, estimate in found:
            if table_type == "VIEW" and name not in chosen:
                continue
            if name in chosen and engine is not None and engine not in SNAPSHOT_ENGINES:
                self.warnings.append(
                    f"The source table {name} is kept by {engine}, which has no snapshots: changes"
                    " during a load may be seen in part."
                )
            index, key = keys.get(name, ("", ()))
            tables.append(
                Table(
                    name,
                    name.lower(),
                    tuple(columns.get(name, ())),
                    key,
                    estimate,
                    name in shown_in_part,
                    {"columns": details.get(name, {}), "key": index},
                )
            )
        return tables

    def partition(self, table: Table) -> Partition | None:
        """Key ranges over the leading key column, when that is an integer."""
        name = _range_column(table)
        if name is None or self._has_long_text(table):
            return None
        key, source = _quote(name), _quote(table.name)
        low, high = self._row(f"select min({key}), max({key}) from {source}")
        rows = table.estimated_rows or 0
        if rows < FEWEST_ROWS:
            # Statistics of a table that was just filled may know nothing of it yet.
            (rows,) = self._row(f"select count(*) from {source}")
        return cut(table.key_columns[0], low, high, rows)

    def digests(self, table: Table, partition: Partition) -> Digests | None:
        """One query; the server sends a count and an md5 for each range."""
        if self._has_long_text(table):
            return None
        key = _quote(partition.column.name)
        cursor = self._cursor
        try:
            cursor.execute(
                f"select {key} div {partition.width} as number, count(*),"
                f" md5({_lines(table)})"
                f" from {_quote(table.name)} group by number"
            )
            found = cursor.fetchall()
        except pymysql.MySQLError as error:
            raise self._failed(f"digesting the source table {table.name}", error) from None
        # The server cannot say which of the ranges was cut, so none is trusted.
        trusted = not self._cut()
        return {int(n): Digest(rows, value if trusted else "") for n, rows, value in found}

    def read(self, table: Table, scope: Scope, issues: Issues) -> Iterator[Block]:
        """The rows of a table, by key range where the key allows it."""
        try:
            if scope.after is not None:
                column, value = scope.after
                where = f"where {_quote(column.name)} > {self._connection.escape(value)}"
                yield from self._read_rows(table, where)
            elif scope.partition is not None:
                yield from self._read_ranges(table, scope, scope.partition)
            else:
                yield from self._read_rows(table, "")
        except pymysql.MySQLError as error:
            raise self._failed(f"reading the source table {table.name}", error) from None

    def _read_ranges(self, table: Table, scope: Scope, partition: Partition) -> Iterator[Block]:
        """All ranges or those asked for, about a block's worth in each query."""
        key, name = _quote(partition.column.name), _quote(table.name)
        if scope.numbers is None:
            low, high = self._row(f"select min({key}), max({key}) from {name}")
            wanted = [(partition.number(low), partition.number(high))] if low is not None else []
        else:
            wanted = list(runs(scope.numbers))
        wanted_bytes = min(BLOCK_BYTES, self._packet // 4)
        count = 8
        for first, last in wanted:
            while first <= last:
                end = min(first + count - 1, last)
                size = yield from self._read_span(table, scope, partition, first, end)
                first = end + 1
                if size == 0 and end < last:
                    # A gap: on to the next key there is.
                    (key_found,) = self._row(
                        f"select min({key}) from {name} where {key} > {partition.bounds(end)[1]}"
                    )
                    first = last + 1 if key_found is None else partition.number(key_found)
                count = max(1, min(1_000, int(count * min(4.0, wanted_bytes / max(size, 1)))))

    def _read_span(
        self, table: Table, scope: Scope, partition: Partition, first: int, last: int
    ) -> Generator[Block, None, int]:
        """Neighbouring ranges, fewer at a time where a packet cannot hold them; returns bytes."""
        key = _quote(partition.column.name)
        low, high = partition.bounds(first)[0], partition.bounds(last)[1]
        where = f"where {key} between {low} and {high}"
        # Not grouped by range: the server would sort the rows, which come in the key's order.
        self._cursor.execute(
            f"select count(*), group_concat({_line(table)} separator '\\n')"
            f" from {_quote(table.name)} force index ({_quote(str(table.detail['key']))}) {where}"
        )
        ((rows, text),) = self._cursor.fetchall()
        if not rows:
            return 0
        data = _bytes(text or "") + b"\n"
        if not self._cut() and data.count(b"\n") == rows:
            position = table.columns.index(partition.column)
            scope.digests.update(digests_of(data, position, partition))
            yield Block(data, rows)
            return len(data)
        if first == last:
            size = rows = 0
            for block in self._read_rows(table, where):
                size, rows = size + len(block.data), rows + block.rows
                yield block
            # The server's own digest of such a range would be cut.
            scope.digests[first] = Digest(rows, "")
            return size
        middle = (first + last) // 2
        size = yield from self._read_span(table, scope, partition, first, middle)
        size += yield from self._read_span(table, scope, partition, middle + 1, last)
        return size

    def _read_rows(self, table: Table, where: str) -> Iterator[Block]:
        """Row by row: as lines, or as values where a line might not fit into a packet."""
        if self._lines_fit(table, where):
            return self._read_lines(table, where)
        return self._read_values(table, where)

    def _cut(self) -> bool:
        """Whether the server said that the last group_concat lost something."""
        if not self._cursor.warning_count:
            return False
        shown = self._rows("show warnings")
        # The server keeps only the first of many; what it does not show may be such a loss.
        return len(shown) < self._cursor.warning_count or any(
            code in (1260, 1301) for _, code, _ in shown
        )

    def _has_long_text(self, table: Table) -> bool:
        """Whether a text is so long that the server should not escape it.

        Its replace() moves the rest of the text at each match: minutes for a text of megabytes.
        """
        if table.name not in self._long_text:
            long = [
                c
                for c in table.columns
                if c.type is TEXT and _detail(table, c)["length"] > LONG_TEXT
            ]
            found = bool(long) and self._longest(table, long, "") > LONG_TEXT
            self._long_text[table.name] = found
        return self._long_text[table.name]

    @cached_property
    def _packet(self) -> int:
        """Bytes that the server can send in one piece."""
        (packet,) = self._row("select @@max_allowed_packet")
        return int(packet)

    def _lines_fit(self, table: Table, where: str) -> bool:
        """Whether every line stays far below the server's packet size."""
        if self._has_long_text(table):
            return False
        long = [c for c in table.columns if _detail(table, c)["length"] > LONG_TEXT]
        if not long:
            return True
        return self._longest(table, long, where) * 4 + PACKET_RESERVE < self._packet

    def _longest(self, table: Table, columns: list[Column], where: str) -> int:
        """The most bytes that these columns have together in one row."""
        lengths = " + ".join(f"coalesce(octet_length({_quote(c.name)}), 0)" for c in columns)
        (longest,) = self._row(f"select max({lengths}) from {_quote(table.name)} {where}")
        return int(longest or 0)

    def _read_lines(self, table: Table, where: str) -> Iterator[Block]:
        with self._stream(f"select {_line(table)} from {_quote(table.name)} {where}") as cursor:
            while rows := cursor.fetchmany(ROWS_PER_BLOCK):
                yield Block(b"\n".join([_bytes(row[0]) for row in rows]) + b"\n", len(rows))

    def _read_values(self, table: Table, where: str) -> Iterator[Block]:
        fields = ", ".join(_value_field(column, table) for column in table.columns)
        writers = [_writer(column) for column in table.columns]
        with self._stream(f"select {fields} from {_quote(table.name)} {where}") as cursor:
            lines: list[bytes] = []
            size = 0
            while row := cursor.fetchone():
                line = "\t".join(
                    "\\N" if value is None else write(value)
                    for write, value in zip(writers, row, strict=True)
                )
                lines.append(line.encode() + b"\n")
                size += len(lines[-1])
                if size > BLOCK_BYTES:
                    yield Block(b"".join(lines), len(lines))
                    lines, size = [], 0
            if lines:
                yield Block(b"".join(lines), len(lines))

    @contextmanager
    def _stream(self, query: str) -> Iterator[Any]:
        """A cursor that does not hold its result in memory."""
        cursor: Any = self._connection.cursor(SSCursor)
        try:
            cursor.execute(query)
            yield cursor
        finally:
            # Closing it would read the rest first, or fail where the server is gone.
            if cursor._result is not None:
                cursor._result.unbuffered_active = False

    def _columns(self) -> Iterator[tuple[str, int, Column, dict[str, Any]]]:
        rows = self._rows(
            "select table_name, ordinal_position, column_name, data_type, column_type, is_nullable,"
            " numeric_precision, numeric_scale, character_octet_length, datetime_precision,"
            " character_maximum_length"
            " from information_schema.columns where table_schema = database()"
            " order by table_name, ordinal_position"
        )
        for name, position, column, base, declared, nullable, *numbers in rows:
            precision, scale, octets, fraction, length = numbers
            kind = _type_of(base, declared, precision, scale)
            note = None
            if base == "decimal" and kind is TEXT:
                note = f"{declared} kept as text: wider than {MAX_DECIMAL_DIGITS} digits"
            detail = {"base": base, "length": octets or 0, "fraction": fraction or 0}
            if base in GEOMETRIES:
                detail["length"] = 2**32 - 1
            yield (
                name,
                position,
                Column(
                    column,
                    column.lower(),
                    declared,
                    kind,
                    nullable == "YES",
                    note,
                    length=length if kind is TEXT else None,
                ),
                detail,
            )

    def _keys(self, columns: dict[str, list[Column]]) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Index and columns of each table's primary key, or else of its first unique key.

        A unique key with nulls or prefixes of columns does not tell rows apart.
        """
        rows = self._rows(
            "select table_name, index_name, column_name, sub_part"
            " from information_schema.statistics where table_schema = database() and non_unique = 0"
            " order by table_name, index_name <> 'PRIMARY', index_name, seq_in_index"
        )
        never_null = {
            (table, column.name)
            for table, all_ in columns.items()
            for column in all_
            if not column.nullable
        }
        indexes: dict[str, dict[str, list[str]]] = {}
        unfit: set[tuple[str, str]] = set()
        for table, index, column, prefix in rows:
            indexes.setdefault(table, {}).setdefault(index, []).append(column)
            if prefix is not None or (table, column) not in never_null:
                unfit.add((table, index))
        keys = {}
        for table, by_name in indexes.items():
            usable = [
                (index, tuple(names))
                for index, names in by_name.items()
                if (table, index) not in unfit
            ]
            if usable:
                keys[table] = usable[0]
        return keys

    def _run(self, sql: str) -> None:
        try:
            self._cursor.execute(sql)
        except pymysql.MySQLError as error:
            raise self._failed("preparing the source's snapshot", error) from None

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            try:
                cursor.execute(sql)
                return list(cursor.fetchall())
            except pymysql.MySQLError as error:
                raise self._failed("reading the source's catalog", error) from None

    def _row(self, sql: str) -> tuple[Any, ...]:
        return self._rows(sql)[0]

    def _failed(self, doing: str, error: pymysql.MySQLError) -> LoadError:
        code, text = (*error.args, "")[:2] if error.args else (0, str(error))
        if code == 1412:
            text = "a table was altered while it was being read; run the load again"
        elif code in _GONE or not text:
            text = f"the connection to {self.url.address} was lost"
        elif code in (1142, 1143):
            text = f"{text}; grant SELECT on it to the user {self.url.user}"
        return LoadError(f"MySQL source, {doing}: {text}.")


def _connect(url: SourceUrl) -> "pymysql.connections.Connection[Any]":
    try:
        return pymysql.connect(
            host=url.host or "localhost",
            port=url.port or 3306,
            user=url.user,
            password=url.password or "",
            database=url.database,
            charset="utf8mb4",
            unix_socket=url.options.get("unix_socket"),
            ssl=_tls(url),
            connect_timeout=10,
        )
    except pymysql.MySQLError as error:
        code = error.args[0] if error.args else 0
        cause = getattr(error, "original_exception", None)
        if isinstance(cause, ssl.SSLError):
            said = getattr(cause, "verify_message", "") or cause.reason
            reason = f"cannot be trusted or speaks no TLS ({said}): check ssl_ca and the host name"
        elif code in _DENIED:
            reason = f"refused the user {url.user or '(none)'}: check user, password and grants"
        elif code == 1044:
            # The server does not say which, to users who may not know.
            reason = f"has no database {url.database}, or the user {url.user} may not use it"
        elif code == 1049:
            reason = f"has no database {url.database}"
        elif code in _GONE:
            reason = "cannot be reached: check host and port, and that the server runs"
        else:
            reason = f"said: {error.args[-1] if error.args else error}"
        raise LoadError(f"The MySQL server at {url.address} {reason}.") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise LoadError(f"The MySQL server at {url.address} cannot be used: {error}.") from None


def _tls(url: SourceUrl) -> ssl.SSLContext | None:
    """TLS as the URL asks for it: `tls=on` encrypts, `ssl_ca=FILE` verifies the server too."""
    files = {name: url.options.get(f"ssl_{name}") for name in ("ca", "cert", "key")}
    if not any(files.values()) and url.options.get("tls") != "on":
        return None
    try:
        context = ssl.create_default_context(cafile=files["ca"])
        if files["cert"]:
            context.load_cert_chain(files["cert"], files["key"])
    except OSError as error:
        raise UsageError(
            f"The TLS files of the source URL cannot be used: {error.strerror or error}."
        ) from None
    if not files["ca"]:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _type_of(
    base: str, declared: str, precision: int | str | None, scale: int | str | None
) -> Type:
    """The warehouse type of a MySQL type; what is unknown arrives as text."""
    unsigned = "unsigned" in declared
    if base in INTEGER_BITS:
        return integer_type(INTEGER_BITS[base], unsigned=unsigned)
    if base == "bit":
        bits = int(precision or 1)
        return BOOLEAN if bits == 1 else integer_type(bits, unsigned=True)
    if base == "decimal":
        return decimal_type(int(precision or 0), int(scale or 0))
    if base in BINARIES or base in GEOMETRIES:
        return BINARY
    others = {
        "float": DOUBLE,
        "double": DOUBLE,
        "year": SMALLINT,
        "date": DATE,
        "datetime": TIMESTAMP,
        "timestamp": TIMESTAMP,
    }
    return others.get(base, TEXT)


def _range_column(table: Table) -> str | None:
    """The leading key column when key ranges over it can be asked for as integers."""
    if not table.key:
        return None
    first = table.key_columns[0]
    return (
        first.name
        if first.type in INTEGERS and _detail(table, first)["base"] in INTEGER_BITS
        else None
    )


def _plain_text(column: Column, table: Table) -> str:
    """SQL for a value's one spelling, unescaped; null stays null, a loss becomes its mark."""
    name, detail = _quote(column.name), _detail(table, column)
    base = detail["base"]
    if column.type.kind is Kind.BOOLEAN:
        return f"if({name} is null, null, if({name} = b'1', 't', 'f'))"
    if base == "bit" or base == "year" or "zerofill" in column.declared:
        return f"({name} + 0)"
    if column.type is DOUBLE:
        return _double(name)
    if base == "date":
        return f"if({_impossible_date(name)}, '\\\\?Z', cast({name} as char))"
    if base in ("datetime", "timestamp"):
        text = f"cast({name} as char)"
        if detail["fraction"]:
            text = f"trim(trailing '.' from trim(trailing '0' from {text}))"
        return f"if({_impossible_date(name)}, '\\\\?Z', {text})"
    if base in GEOMETRIES:
        return f"st_aswkb({name})"
    if column.type is TEXT and base != "decimal":
        cast = name if base in TEXTS - {"json"} else f"cast({name} as char)"
        return f"convert({cast} using utf8mb4)"
    return name


def _impossible_date(name: str) -> str:
    """True for a zero or partial date, the year 0, and a day that its month does not have."""
    return (
        f"{name} is not null and (year({name}) = 0 or month({name}) = 0 or day({name}) = 0"
        f" or (day({name}) > 28 and to_days(concat({name}, '')) is null))"
    )


def _double(name: str) -> str:
    text = f"cast(cast({name} as double) as char)"
    spelled = double_sql(f"trim(leading '-' from {text})", split=SPLIT, integer="signed")
    return f"if({name} is null, null, concat(if({text} like '-%', '-', ''), {spelled}))"


def _line(table: Table) -> str:
    """SQL for the line of a row."""
    return f"concat_ws('\\t', {', '.join(_line_field(c, table) for c in table.columns)})"


def _lines(table: Table) -> str:
    """SQL for all lines of a group in the key's order, so that equal rows give an equal digest."""
    order = ", ".join(_quote(name) for name in table.key)
    return f"group_concat({_line(table)} order by {order} separator '\\n')"


def _line_field(column: Column, table: Table) -> str:
    """SQL for the field of a line: the value's spelling, escaped, or the mark of null."""
    text = _plain_text(column, table)
    if column.type is BINARY:
        text = f"concat('\\\\x5Cx', lower(hex({text})))"
    elif column.type is TEXT:
        for plain, escaped in (
            ("\\\\", "\\\\x5C"),
            ("\\t", "\\\\t"),
            ("\\n", "\\\\n"),
            ("\\r", "\\\\r"),
        ):
            text = f"replace({text}, '{plain}', '{escaped}')"
    return f"coalesce({text}, '\\\\N')"


def _value_field(column: Column, table: Table) -> str:
    text = _plain_text(column, table)
    plain = column.type is BINARY or (
        column.type is TEXT and _detail(table, column)["base"] != "decimal"
    )
    return text if plain else f"cast({text} as char)"


def _writer(column: Column) -> Callable[[Any], str]:
    if column.type is BINARY:
        return lambda value: binary_field(_bytes(value))
    if column.type is TEXT:
        return lambda value: escape(_bytes(value).decode())
    return lambda value: _bytes(value).decode()


def _detail(table: Table, column: Column) -> dict[str, Any]:
    columns: Any = table.detail["columns"]
    detail: dict[str, Any] = columns[column.name]
    return detail


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _quote(name: str) -> str:
    return "`" + re.sub("`", "``", name) + "`"
