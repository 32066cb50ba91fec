"""MySQL and MariaDB.

The server renders the wire text itself. Where a table has an integer key, whole key ranges come as
one `group_concat` of their lines, megabytes at a time, so that the driver is not the bottleneck;
other tables come as one line per row. Rows too long for the server's packets come value by value,
and this module renders them.
"""

from bisect import bisect_left
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import pymysql
from pymysql.cursors import SSCursor

from ..errors import LoadError
from ..ranges import (
    FEWEST_ROWS,
    Digest,
    Digests,
    Partition,
    Scope,
    cut,
    digests_of,
    runs,
)
from ..schema import TEXT, Column, Table
from ..urls import SourceUrl, is_local, unencrypted
from ..wire import BLOCK_BYTES, Block, Issues
from .base import Source, Wanted
from .mysql_blocks import digests_of_blocks, has_separators, is_as_before
from .mysql_catalog import read_tables
from .mysql_connection import GONE, check_url, connect, hang_up, settle
from .mysql_keys import conditions, in_order, within
from .mysql_values import (
    as_bytes,
    detail_of,
    line_sql,
    lines_sql,
    quote,
    range_column,
    unsorted_lines_sql,
    value_sql,
    writer,
)

ROWS_AT_ONCE = 5_000
# Bytes of text above which the server should not be asked to escape it.
LONG_TEXT = 60_000
# Bytes of a line beside its long values.
PACKET_RESERVE = 1_000_000
# The server's codes for a table or column that the user may not read.
DENIED_TABLE = (1142, 1143)
# And for one whose files are damaged, or that stands for others which are gone.
BROKEN_TABLE = (145, 1017, 1034, 1035, 1168, 1194, 1195, 1356, 1449, 1812, 1932)


def open_source(url: SourceUrl) -> "MySQLSource":
    """Connect and begin a read-only snapshot. Raises LoadError in one sentence."""
    check_url(url)
    return MySQLSource(url)


class MySQLSource(Source):
    """One connection in one consistent snapshot: no locks, all tables as of one moment."""

    marks_infinity = False

    def __init__(self, url: SourceUrl) -> None:
        self.url = url
        self._connection = connect(url)
        self._cursor = self._connection.cursor()
        self.warnings: list[str] = []
        self.left_out: dict[str, str] = {}
        # By table; each costs a scan, and nothing changes in the snapshot.
        self._long_text: dict[str, bool] = {}
        # Tables in whose text a tab or a line break was found.
        self._with_separators: set[str] = set()
        if not is_local(url.host) and not self.rows("show status like 'Ssl_cipher'")[0][1]:
            self.warnings.append(unencrypted("source", url.host))
        settle(self.rows)
        self._run("set session transaction isolation level repeatable read")
        self._run("start transaction with consistent snapshot, read only")

    def abort(self) -> None:
        hang_up(self._connection)

    def close(self) -> None:
        # A regular close would first read an unread result to its end.
        self._connection._force_close()  # type: ignore[attr-defined]

    def tables(self, wanted: Wanted) -> list[Table]:
        return read_tables(self.rows, wanted, self.warnings, self.left_out)

    def why_hidden(self, name: str) -> str | None:
        """A user without a right on a table does not see it, and is not told whether it exists."""
        try:
            self._cursor.execute(f"select 1 from {quote(name)} limit 0")
        except pymysql.MySQLError as error:
            if error.args and error.args[0] in DENIED_TABLE:
                return f"the user {self.url.user} may not read it, so grant SELECT on it"
        return None

    def log_position(self) -> tuple[str, int] | None:
        """The file and the place in the binary log up to which the snapshot shows the changes.

        None where there is no log, or the server cannot tell (MySQL).
        """
        found = dict(self.rows("show status like 'binlog_snapshot_%'"))
        name = found.get("Binlog_snapshot_file") or ""
        return (name, int(found["Binlog_snapshot_position"])) if name else None

    def count(self, table: Table, scope: Scope) -> int:
        if scope.keys is not None:
            counts = (
                self._row(f"select count(*) from {quote(table.name)} {where}")[0]
                for where in conditions(table, scope.keys)
            )
            return sum(map(int, counts))
        where = self._after(scope)
        return int(self._row(f"select count(*) from {quote(table.name)} {where}")[0])

    def partition(self, table: Table) -> Partition | None:
        """Key ranges over the leading key column, when that is an integer."""
        name = range_column(table)
        if name is None or self._has_long_text(table):
            return None
        key, source = quote(name), quote(table.name)
        low, high = self._row(f"select min({key}), max({key}) from {source}")
        rows = table.estimated_rows or 0
        if rows < FEWEST_ROWS:
            # A table that was just filled may not be in the statistics yet.
            (rows,) = self._row(f"select count(*) from {source}")
        return cut(table.key_columns[0], low, high, rows)

    def digests(self, table: Table, partition: Partition, before: Digests) -> Digests | None:
        """First those of the blocks, then those of the ranges in blocks that changed.

        A block's rows come in the order of the key. For ranges the server sorts them, which takes
        as long as reading them.
        """
        if self._has_long_text(table):
            return None
        known, now = Digests(before, before.blocks), Digests()
        if not known.blocks:
            known.cut()
        firsts = sorted(known.blocks) or [0]
        numbers = sorted(before)
        try:
            found = digests_of_blocks(self._ask, table, partition, firsts, known.blocks)
            for first, after, digest in zip(firsts, [*firsts[1:], None], found, strict=True):
                if is_as_before(digest, known.blocks.get(first)):
                    low = bisect_left(numbers, first) if first != firsts[0] else 0
                    high = bisect_left(numbers, after) if after is not None else len(numbers)
                    now.update({number: before[number] for number in numbers[low:high]})
                    now.blocks[first] = digest
                elif digest.rows:
                    where = within(partition, first if first != firsts[0] else None, after)
                    ranges = self._digests_of_ranges(table, partition, where)
                    ranges.make_block(first, digest)
                    now.add(ranges)
        except pymysql.MySQLError as error:
            raise self._failed(f"digesting the source table {table.name}", error) from None
        return now

    def _digests_of_ranges(self, table: Table, partition: Partition, where: str) -> Digests:
        """One query returns a count and a hash for each range."""
        found, is_whole = self._ask(
            f"select {quote(partition.column.name)} div {partition.width} as number, count(*),"
            f" sha2({lines_sql(table)}, 256) from {quote(table.name)}{where} group by number"
        )
        # The server does not say which of the ranges was cut, so none is trusted.
        return Digests(
            {int(n): Digest(rows, value if is_whole else "") for n, rows, value in found}
        )

    def _ask(self, query: str) -> tuple[Sequence[tuple[Any, ...]], bool]:
        """The rows of a query with a group_concat, and whether nothing was cut off in any."""
        self._cursor.execute(query)
        return self._cursor.fetchall(), not self._cut()

    def read(self, table: Table, scope: Scope, issues: Issues) -> Iterator[Block]:
        """The rows of a table, by key range where the key allows it."""
        try:
            if scope.keys is not None:
                for where in conditions(table, scope.keys):
                    yield from self._read_rows(table, where)
            elif scope.after is not None:
                yield from self._read_rows(table, self._after(scope))
            elif scope.partition is not None:
                yield from self._read_ranges(table, scope, scope.partition)
            else:
                yield from self._read_rows(table, "")
        except pymysql.MySQLError as error:
            raise self._failed(f"reading the source table {table.name}", error) from None

    def _after(self, scope: Scope) -> str:
        """The condition for rows after a cursor's value."""
        if scope.after is None:
            return ""
        column, value = scope.after
        return f"where {quote(column.name)} > {self._connection.escape(value)}"

    def _read_ranges(self, table: Table, scope: Scope, partition: Partition) -> Iterator[Block]:
        """All ranges, or those in the scope; each query reads about one block."""
        key, name = quote(partition.column.name), quote(table.name)
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
                    # A gap: continue with the next existing key.
                    (key_found,) = self._row(
                        f"select min({key}) from {name} where {key} > {partition.bounds(end)[1]}"
                    )
                    first = last + 1 if key_found is None else partition.number(key_found)
                count = max(1, min(1_000, int(count * min(4.0, wanted_bytes / max(size, 1)))))

    def _read_span(
        self, table: Table, scope: Scope, partition: Partition, first: int, last: int
    ) -> Generator[Block, None, int]:
        """Consecutive ranges, fewer at a time where a packet cannot hold them; returns bytes."""
        key = quote(partition.column.name)
        low, high = partition.bounds(first)[0], partition.bounds(last)[1]
        where = f"where {key} between {low} and {high}"
        # Not grouped by range: the server would sort the rows, which come in the key's order.
        escapes = table.name in self._with_separators
        lines = unsorted_lines_sql(table, escapes=escapes)
        found, is_whole = self._ask(f"select count(*), {lines} {in_order(table)} {where}")
        ((rows, text),) = found
        if not rows:
            return 0
        data = as_bytes(text or "") + b"\n"
        if is_whole and not escapes and has_separators(data, rows, len(table.columns)):
            self._with_separators.add(table.name)
            return (yield from self._read_span(table, scope, partition, first, last))
        if is_whole and data.count(b"\n") == rows:
            position = table.columns.index(partition.column)
            scope.digests.add(digests_of(data, position, partition))
            yield Block(data, rows)
            return len(data)
        if first == last:
            size = rows = 0
            for block in self._read_rows(table, where):
                size, rows = size + len(block.data), rows + block.rows
                yield block
            # The server would cut the digest of such a range.
            scope.digests[first] = scope.digests.blocks[first] = Digest(rows, "")
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
        shown = self.rows("show warnings")
        # The server shows only the first warnings; a hidden one may be such a loss.
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
                if c.type is TEXT and detail_of(table, c)["length"] > LONG_TEXT
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
        long = [c for c in table.columns if detail_of(table, c)["length"] > LONG_TEXT]
        if not long:
            return True
        return self._longest(table, long, where) * 4 + PACKET_RESERVE < self._packet

    def _longest(self, table: Table, columns: list[Column], where: str) -> int:
        """The most bytes of these columns together in one row."""
        lengths = " + ".join(f"coalesce(octet_length({quote(c.name)}), 0)" for c in columns)
        (longest,) = self._row(f"select max({lengths}) from {quote(table.name)} {where}")
        return int(longest or 0)

    def _read_lines(self, table: Table, where: str) -> Iterator[Block]:
        with self._stream(f"select {line_sql(table)} from {quote(table.name)} {where}") as cursor:
            while rows := cursor.fetchmany(ROWS_AT_ONCE):
                yield Block(b"\n".join([as_bytes(row[0]) for row in rows]) + b"\n", len(rows))

    def _read_values(self, table: Table, where: str) -> Iterator[Block]:
        fields = ", ".join(value_sql(column, table) for column in table.columns)
        writers = [writer(column) for column in table.columns]
        with self._stream(f"select {fields} from {quote(table.name)} {where}") as cursor:
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
        """A cursor that streams its result."""
        cursor: Any = self._connection.cursor(SSCursor)
        try:
            cursor.execute(query)
            yield cursor
        finally:
            # Closing it would first read the rest, or fail if the server is gone.
            if cursor._result is not None:
                cursor._result.unbuffered_active = False

    def _run(self, sql: str) -> None:
        try:
            self._cursor.execute(sql)
        except pymysql.MySQLError as error:
            raise self._failed("preparing the source's snapshot", error) from None

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a query in the snapshot."""
        with self._connection.cursor() as cursor:
            try:
                cursor.execute(sql)
                return list(cursor.fetchall())
            except pymysql.MySQLError as error:
                raise self._failed("reading the source's catalog", error) from None

    def _row(self, sql: str) -> tuple[Any, ...]:
        return self.rows(sql)[0]

    def _failed(self, doing: str, error: pymysql.MySQLError) -> LoadError:
        code, text = (*error.args, "")[:2] if error.args else (0, str(error))
        if code == 1412:
            text = "a table was altered while it was being read; run the load again"
        elif code in GONE or not text:
            text = f"the connection to {self.url.address} was lost"
        elif code in DENIED_TABLE:
            text = f"{text}; grant SELECT on it to the user {self.url.user}"
        elif code in BROKEN_TABLE:
            text = f"{text.rstrip('.')}; repair it, or leave it out with --exclude"
        return LoadError(f"MySQL source, {doing}: {text}.")
