"""The log of MariaDB and MySQL as the watcher hears it: keys of rows, and what rows do not tell."""

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

from ..answering import answering
from ..errors import LoadError
from ..schema import Table
from ..sources import Source, open_source
from ..sources.mysql import MySQLSource
from ..sources.mysql_connection import Rows, connect, hang_up
from ..urls import parse_url
from . import binlog
from .binlog import Binlog, Event, query_of
from .binlog_rows import Image, TableMap, images, number_of, table_of
from .binlog_values import UnreadableError, spelled
from .changes import Channel, Heard, LogLostError, LogSilentError, Place
from .log import Log
from .mysql_gtids import Executed, gtid_of, log_status
from .mysql_shapes import Shape, read_shapes

# Statements that change no row and no table; names of tables may be in them.
HARMLESS = re.compile(
    r"(savepoint|release|rollback\s+to|set|flush|analyze|optimize|check|grant|revoke|xa\s+(start|end)"
    r"|begin|start)\b|(create|drop|alter|rename)\s+(or\s+replace\s+)?(/\*!\d+\s*)?(temporary\b"
    r"|user\b|role\b|(algorithm\s*=\s*\w+\s*)?(definer\s*=\s*\S+\s*)?(sql\s+security\s+\w+\s*)?"
    r"(view|trigger|procedure|function|event|package|sequence|server)\b)",
    re.IGNORECASE,
)
SHAPING = re.compile(r"(create|alter|drop|rename|truncate)\b", re.IGNORECASE)
# What stands before a statement for which variables are set.
SET_STATEMENT = re.compile(r"\Aset\s+statement\b.*?\bfor\s+", re.IGNORECASE | re.DOTALL)
BEGINS = re.compile(r"\s*(begin|xa\s+start)\b", re.IGNORECASE)
XA_END = re.compile(r"xa\s+(commit|rollback)\b", re.IGNORECASE)
COMMENT = re.compile(r"\s*(/\*(?!!).*?\*/|--[^\n]*\n|#[^\n]*\n)\s*", re.DOTALL)
# In the place of a log: the file's number and the bytes before it, then the file's name, where the
# last event began, its mark, and when the file was begun.
START, MARK, BEGUN = 3, 4, 5
STATEMENT = "a statement changed rows that its log does not name"


class MySQLLog(Log):
    """`places` in this log are those of its files."""

    def __init__(self, url_text: str) -> None:
        self._text, self.url = url_text, parse_url(url_text)
        self.channel = Channel()
        self.database = self.url.database
        self._binlog: Binlog | None = None
        self.shapes: dict[tuple[str, str], Shape] = {}
        self._snapshot: Place = ()
        # What the snapshot surely shows, where MySQL says that by numbers and not by a place.
        self._executed: Executed | None = None
        self._begun_at: Place = ()
        # The place as of which the tables are known.
        self.learned: Place = ()

    def start(self, saved: Any) -> None:
        self.close()
        if saved is None:
            source = self.snapshot()
            source.close()
            number, place = self._snapshot
            saved = [number, place, self._file, place, "", 0]
        self.channel = Channel()
        self._binlog = Binlog(self.url, saved[2], saved[START] if saved[MARK] else saved[1])
        self._begun_at = tuple(saved)
        reader = Reader(self, self._binlog, self._begun_at)
        threading.Thread(target=reader.run, daemon=True).start()

    def begun_at(self) -> Place | None:
        begun = self._binlog.first_begun if self._binlog else 0
        return (*self._begun_at[:BEGUN], self._begun_at[BEGUN] or begun)

    def snapshot(self) -> Source:
        before = self._ask_before() if self._is_mysql else None
        source = open_source(self._text)
        assert isinstance(source, MySQLSource)
        found = before or source.log_position()
        if found is None:
            source.close()
            raise LogLostError("the server writes no log any more")
        self.reading, self._file = source, found[0]
        self._snapshot = (number_of_file(found[0]), found[1])
        return source

    @cached_property
    def _is_mysql(self) -> bool:
        with self._asking() as rows:
            ((version,),) = rows("select @@version")
        return "mariadb" not in version.lower()

    def _ask_before(self) -> tuple[str, int]:
        """What the server has executed before a snapshot begins, and a place not before that."""
        with self._asking() as rows:
            ((text,),) = rows("select @@global.gtid_executed")
            self._executed = Executed.of(text)
            file, place, *_ = log_status(rows)
        return file, place

    @contextmanager
    def _asking(self) -> Iterator[Rows]:
        with (
            connect(self.url) as connection,
            answering(self.greet, partial(hang_up, connection)),
            connection.cursor() as cursor,
        ):

            def rows(query: str) -> list[tuple[Any, ...]]:
                cursor.execute(query)
                return list(cursor.fetchall())

            yield rows

    def greet(self) -> None:
        connect(self.url).close()

    def heard_at(self) -> float:
        return self._binlog.heard_at if self._binlog else 0.0

    def ends(self, place: Place | None) -> bool:
        return place is not None and place[:2] >= self._snapshot

    def shows(self, heard: Heard) -> bool:
        if self._executed is not None and heard.gtid is not None:
            return heard.gtid in self._executed
        return heard.place is not None and heard.place[:2] <= self._snapshot

    def learn(self, source: Source, tables: Sequence[Table]) -> None:
        assert isinstance(source, MySQLSource)
        # As the server has it: names may be in lower case there.
        ((self.database,),) = source.rows("select database()")
        shapes = read_shapes(source.rows, tables, self.database)
        # The thread looks only into the dictionary that it was given.
        self.shapes |= shapes
        for gone in self.shapes.keys() - shapes.keys():
            del self.shapes[gone]
        # Last: until then the thread takes what changed for unknown.
        self.learned = self._snapshot

    def key_columns(self) -> Mapping[str, tuple[str, ...]]:
        return {shape.raw_name: shape.key for shape in self.shapes.values() if shape.raw_name}

    def confirm(self, place: Place) -> None:
        """A server keeps its log for as long as it is set to, whoever reads it."""

    def behind(self, published: Place | None) -> int | None:
        last = self._binlog.last if self._binlog else None
        if last is None or published is None or last[0] != published[0]:
            return None
        return max(0, int(last[1] - published[1]))

    def close(self) -> None:
        self.channel.close()
        if self._binlog is not None:
            self._binlog.close()

    def unheard(self) -> dict[str, str]:
        return {
            s.raw_name: s.why
            for s in self.shapes.values()
            if s.why and s.raw_name and not s.is_silent
        }

    def marks(self) -> dict[str, str]:
        # Its log tells of each definition.
        return {s.raw_name: "" for s in self.shapes.values() if s.raw_name}

    def silent(self) -> dict[str, str]:
        return {s.raw_name: s.why for s in self.shapes.values() if s.is_silent}


class Reader:
    """Turns events into what was heard, in a thread."""

    def __init__(self, owner: MySQLLog, log: Binlog, saved: tuple[Any, ...]) -> None:
        self._owner, self._log, self._saved = owner, log, saved
        self._url, self._channel, self._shapes = owner.url, owner.channel, owner.shapes
        # By raw table, where its columns changed: rows after that fit to what is learned later.
        self._changed: dict[str, Place] = {}
        self._maps: dict[int, TableMap] = {}
        # Changes of transactions that were prepared and not yet committed.
        self._prepared: dict[str, Heard] = {}
        self._heard, self._inside = Heard(), False
        # MySQL: a statement that comes next is a transaction of its own, unless it begins one.
        self._is_first = False

    def run(self) -> None:
        """Read until the log ends, and hand over why it did."""
        try:
            if self._saved[BEGUN]:
                self._log.expected_begun = self._saved[BEGUN]
            for event in self._log.events():
                if self._saved[MARK]:
                    self._recognise(event)
                    continue
                if not self._take(event):
                    return
        except LoadError as error:
            self._channel.put(error)
            if isinstance(error, LogSilentError):
                self._owner.give_up()
        except Exception as error:
            # Whatever it was, the main thread must not wait for ever. Its words may be data.
            text = f"The log of {self._url.address} cannot be read: {type(error).__name__}."
            self._channel.put(LoadError(text))

    def _recognise(self, event: Event) -> None:
        """The last event that was read must be there again, or the log is another one."""
        if event.type == binlog.HEARTBEAT:
            raise LogLostError("the server's log ends before the place that was read last")
        _, end, _, start, mark, _ = self._saved
        if (event.start, event.end, event.mark) != (start, end, mark):
            raise LogLostError("the server's log is not the one that was read last")
        # A heartbeat at this place must not store it without its mark.
        self._log.last = self._saved
        self._saved = (*self._saved[:MARK], "", self._saved[BEGUN])

    def _take(self, event: Event) -> bool:
        """Look at an event; whether anybody still listens."""
        kind, heard = event.type, self._heard
        ends = not self._inside
        if kind == binlog.GTID:
            self._inside = not event.body[12] & 1
            ends = False
            self._maps.clear()
        elif kind == binlog.MYSQL_GTID:
            heard.gtid = gtid_of(event)
            self._inside = self._is_first = True
            ends = False
            self._maps.clear()
        elif kind == binlog.TAGGED_GTID:
            raise LoadError("Transactions with tagged GTIDs are not read from the log: --mode poll")
        elif kind == binlog.PAYLOAD:
            heard.everything = "a compressed transaction is not read from the log"
            ends = True
        elif kind == binlog.PARTIAL_UPDATES:
            self._partial(event)
        elif kind == binlog.TABLE_MAP:
            number, table = table_of(event)
            self._maps[number] = table
        elif kind in binlog.ROWS:
            self._rows(event)
        elif kind in (binlog.QUERY, binlog.QUERY_COMPRESSED):
            is_alone, self._is_first = self._is_first, False
            database, text = query_of(event)
            is_alone = is_alone and not BEGINS.match(text)
            ends = self._statement(event, database, text) or ends or is_alone
        elif kind == binlog.XID:
            ends = True
        elif kind == binlog.XA_PREPARE:
            if not event.body[0]:
                first, second = event.body[5:9], event.body[9:13]
                size = int.from_bytes(first, "little") + int.from_bytes(second, "little")
                self._prepared[event.body[13 : 13 + size].hex()] = heard
                self._heard = heard = Heard()
            ends = True
        elif kind in binlog.FILES:
            heard.everything = STATEMENT
        elif kind == binlog.INCIDENT:
            heard.everything = "the server's log has a gap"
        if kind == binlog.HEARTBEAT and self._inside:
            return True
        if not ends:
            return True
        self._inside = False
        mark = "" if kind in (binlog.HEARTBEAT, binlog.ROTATE) else event.mark
        number, last = number_of_file(event.file), self._log.last
        if kind == binlog.HEARTBEAT and last and last[:2] == (number, event.end):
            return self._channel.put(Heard(last))
        heard.place = (number, event.end, event.file, event.start, mark, self._log.begun)
        heard.at = event.at if heard.says_something else 0.0
        self._log.last = heard.place
        self._heard = Heard()
        return self._channel.put(heard)

    def _statement(self, event: Event, database: str, text: str) -> bool:
        """What a statement changed; whether it ends its transaction."""
        while found := COMMENT.match(text):
            text = text[found.end() :]
        text = SET_STATEMENT.sub("", text, count=1)
        word = text.strip().rstrip(";").upper()
        if word in ("COMMIT", "ROLLBACK"):
            return True
        if word == "BEGIN":
            self._inside = True
            return False
        if XA_END.match(text):
            self._end_of_xa(text)
            return not self._inside
        if HARMLESS.match(text):
            return False
        ours = self._owner.database
        if database != ours and not is_in(ours, text):
            return False
        named = {
            shape.raw_name
            for (_, name), shape in self._shapes.items()
            if shape.raw_name and is_in(name, text)
        }
        if SHAPING.match(text):
            self._heard.reshaped = True
            said = " ".join(text.split()[:2]).lower()
            for raw_name in named:
                self._heard.whole(raw_name, f"the source ran {said}")
                self._changed[raw_name] = (number_of_file(event.file), event.end)
        else:
            self._heard.everything = STATEMENT
        return False

    def _end_of_xa(self, text: str) -> None:
        """The rows of a prepared transaction were in the log before; now they count, or not."""
        xid = "".join(re.findall(r"X'([0-9a-f]*)'", text, re.IGNORECASE)).lower()
        prepared = self._prepared.pop(xid, None)
        if prepared is None:
            self._heard.everything = "a transaction ended that was prepared before the watch began"
        elif text.strip()[2:].strip().upper().startswith("COMMIT"):
            for table in prepared.tables:
                self._heard.whole(table, "a prepared transaction (XA) was committed")
            self._heard.reshaped |= prepared.reshaped

    def _rows(self, event: Event) -> None:
        table = self._maps.get(number_of(event))
        if table is None:
            return
        shape = self._shapes.get((table.database, table.name))
        if shape is None:
            return
        if event.type in binlog.DELETES:
            self._children(shape.after_delete, shape)
        if event.type in binlog.UPDATES and shape.after_any_update:
            self._children(shape.after_update, shape)
        if not shape.raw_name:
            # A table of another database, of which nothing else is wanted.
            if event.type in binlog.UPDATES:
                self._children(shape.after_update, shape)
            return
        if not shape.key:
            self._heard.whole(shape.raw_name, shape.why)
            return
        if self._changed.get(shape.raw_name, ()) > self._owner.learned:
            self._heard.whole(shape.raw_name, "its columns have just changed")
            self._children(shape.after_update, shape)
            return
        if self._heard.tables.get(shape.raw_name, {}) is None and not shape.after_update:
            return
        try:
            if len(table.types) not in shape.widths:
                raise UnreadableError("the table has other columns")
            for before, after in images(event, table, [c.place for c in shape.columns]):
                self._row(event, table, shape, before, after)
        except (UnreadableError, LookupError) as error:
            why = f"a key in the log cannot be read ({error})"
            self._heard.whole(shape.raw_name, why)
            self._children(shape.after_update, shape)

    def _partial(self, event: Event) -> None:
        """Updates of parts of JSON values, which only MySQL has, and only if told to."""
        table = self._maps.get(number_of(event))
        shape = table and self._shapes.get((table.database, table.name))
        if shape:
            if shape.raw_name:
                self._heard.whole(shape.raw_name, "its log has only parts of values")
            self._children(shape.after_update, shape)

    def _row(
        self, event: Event, table: TableMap, shape: Shape, first: Image | None, second: Image | None
    ) -> None:
        old = _key(shape, table, first or {})
        if event.type not in binlog.UPDATES:
            self._heard.row(shape.raw_name, old, exists=event.type in binlog.INSERTS)
            return
        # A column that did not change may be missing in the image after it.
        new = _key(shape, table, {**(first or {}), **(second or {})})
        if new != old:
            self._heard.row(shape.raw_name, old, exists=False)
            self._children(shape.after_update, shape)
        self._heard.row(shape.raw_name, new, exists=True)

    def _children(self, children: set[str], parent: Shape) -> None:
        for child in children:
            why = f"its foreign keys follow {parent.raw_name or 'another database'} (cascade)"
            self._heard.whole(child, why)


def _key(shape: Shape, table: TableMap, image: Image) -> tuple[bytes, ...]:
    fields = []
    for column in shape.columns:
        value = image.get(column.place)
        if value is None:
            raise UnreadableError("a part of it is missing")
        fields.append(spelled(column, table.types[column.place], table.metas[column.place], value))
    return tuple(fields)


def is_in(name: str, text: str) -> bool:
    """Whether a statement may speak of it."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE) is not None


def number_of_file(name: str) -> int:
    """The number at the end of a log file's name."""
    return int(name.rpartition(".")[2])
