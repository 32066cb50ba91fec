"""PostgreSQL's log as the watcher hears it: a slot, a publication, and what is visible when."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import psycopg
from psycopg import sql

from ..answering import answering
from ..dialects.postgres import hang_up, said
from ..errors import LoadError
from ..schema import Table
from ..sources import Source, open_source
from ..sources.postgres import PostgresSource, connect
from ..urls import parse_url
from ..wire import escape
from .changes import Channel, Heard, LogLostError, Place
from .log import DEFINED, Log
from .pgoutput import UNCHANGED, Change, Relation, Values
from .postgres_rights import PUBLICATION, slot_name
from .postgres_shapes import SHAPES, UNREADABLE, Shape, read_shapes
from .postgres_stream import Stream, end_of_records, place_of_text

# What values in the stream are spelled by, as a load spells them.
SPELLING = (
    "-c datestyle=ISO,YMD -c timezone=UTC -c bytea_output=hex -c intervalstyle=iso_8601"
    " -c extra_float_digits=1"
)
SLOT = """
select active_pid, confirmed_flush_lsn::text, coalesce(wal_status, '') = 'lost'
from pg_replication_slots where slot_name = %s
"""
NEWEST = "select pg_snapshot_xmax(pg_current_snapshot())::text"
# The mark of a table that is compared again when a transaction's number is reached.
FRESH = "after "
NOW = """
select pg_current_snapshot()::text, pg_current_wal_flush_lsn()::text,
    pg_current_wal_insert_lsn()::text
"""
# In a place: bytes of log, then the slot, the server's identity and its timeline.
SLOT_AT, SYSTEM = 1, slice(2, 4)
# Seconds to wait for the slot of a watcher that was killed.
PATIENCE = 10.0


class PostgresLog(Log):
    """`warehouse` names the slot, so that each warehouse has its own."""

    looks = True
    beginning = "it makes a slot, for which the server waits until open transactions have ended"

    def __init__(self, url_text: str, warehouse: str) -> None:
        self._text, self._url = url_text, parse_url(url_text)
        # The stored place may name another: one of an earlier version, or of a renamed machine.
        self.slot = self._own = slot_name(warehouse)
        self.channel = Channel()
        self._stream: Stream | None = None
        self._begun_at: Place | None = None
        self._shapes: dict[tuple[str, str], Shape] = {}
        self._marks: dict[str, str] | None = None
        self._published: set[str] = set()
        # Tables that were just published, and the first transaction that surely knew of it: what
        # those before it write is not in the log.
        self._fresh: dict[str, int] = {}
        # Of the newest snapshot: the transactions that it does not show, and where the log was.
        self._unseen: tuple[int, int, frozenset[int]] = (0, 0, frozenset())
        self._until, self._is_ahead, self._asked = 0, False, 0.0

    def start(self, saved: Any) -> None:
        self.close()
        self.channel = Channel()
        connection = connect(self._url, replication="database", options=SPELLING)
        connection.autocommit = True
        try:
            with self._answering(connection):
                row = connection.execute("IDENTIFY_SYSTEM").fetchone()
                assert row is not None
                system = (str(row[0]), str(row[1]))
                place = self._place(saved, system)
                if place is None:
                    place = self._create(connection)
            stream = Stream(
                self._url,
                connection,
                self.channel,
                (self.slot, *system),
                row=self._row,
                emptied=self._emptied,
                silent=self.give_up,
            )
            stream.begin(self.slot, PUBLICATION, place)
        except psycopg.Error as error:
            connection.close()
            raise LoadError(
                f"The log of {self._url.address} cannot be read: {said(error)}."
            ) from None
        except LoadError:
            connection.close()
            raise
        self._stream, self._begun_at = stream, (place, self.slot, *system)
        threading.Thread(target=stream.run, daemon=True).start()

    def begun_at(self) -> Place | None:
        return self._begun_at

    def _place(self, saved: Any, system: tuple[str, str]) -> int | None:
        """Where to read on, or None for a new slot."""
        if saved is None:
            return None
        self.slot = saved[SLOT_AT]
        if tuple(saved[SYSTEM]) != system:
            raise LogLostError(
                "the server is another one than before, or was restored from a backup"
            )
        deadline = time.monotonic() + PATIENCE
        with self._ordinary() as ordinary:
            while True:
                found = ordinary.execute(SLOT, [self.slot]).fetchone()
                if found is None:
                    raise LogLostError(f"the slot {self.slot} is gone")
                active, confirmed, lost = found
                if lost:
                    raise LogLostError(
                        f"the server has removed log that the slot {self.slot} needs"
                    )
                if active is None or time.monotonic() > deadline:
                    break
                # Of a watcher that was killed: this one has the lock, so there is no other.
                ordinary.execute("select pg_terminate_backend(%s)", [active])
                ordinary.commit()
                time.sleep(0.1)
            (end,) = ordinary.execute("select pg_current_wal_flush_lsn()::text").fetchone() or ("",)
        if place_of_text(confirmed) > saved[0]:
            # Perhaps another warehouse has it, which had the same name.
            self.slot = self._own
            raise LogLostError(
                f"the slot {self.slot} was made anew, or something else read from it"
            )
        if place_of_text(end) < saved[0]:
            raise LogLostError("the server's log ends before the place that was read last")
        return int(saved[0])

    def _create(self, connection: psycopg.Connection) -> int:
        """A new slot, in place of one that is there."""
        self.drop()
        row = connection.execute(
            f'CREATE_REPLICATION_SLOT "{self.slot}" LOGICAL pgoutput NOEXPORT_SNAPSHOT'.encode()
        ).fetchone()
        assert row is not None
        return place_of_text(str(row[1]))

    def drop(self) -> bool:
        """Drop the slot, so that the server keeps no log for it; whether there was one."""
        with self._ordinary() as ordinary:
            ordinary.autocommit = True
            deadline = time.monotonic() + PATIENCE
            while found := ordinary.execute(SLOT, [self.slot]).fetchone():
                if found[0] is not None:
                    ordinary.execute("select pg_terminate_backend(%s)", [found[0]])
                try:
                    ordinary.execute("select pg_drop_replication_slot(%s)", [self.slot])
                    return True
                except psycopg.Error as error:
                    if time.monotonic() > deadline:
                        raise LoadError(f"The slot cannot be dropped: {said(error)}.") from None
                    time.sleep(0.1)
        return False

    def snapshot(self) -> Source:
        source = self.reading = open_source(self._text)
        assert isinstance(source, PostgresSource)
        ((text, flushed, inserted),) = source.rows(NOW)
        low, high, between = text.split(":")
        self._unseen = (
            int(low),
            int(high),
            frozenset(int(number) for number in between.split(",") if number),
        )
        # With synchronous_commit off a snapshot shows what is not yet in the server's files, from
        # which the log is sent.
        self._until = end_of_records(place_of_text(inserted))
        self._is_ahead = self._until > place_of_text(flushed)
        return source

    def greet(self) -> None:
        connect(self._url).close()

    @contextmanager
    def _ordinary(self) -> Iterator[psycopg.Connection]:
        """A connection for a few statements."""
        with connect(self._url) as ordinary, self._answering(ordinary):
            yield ordinary

    def _answering(self, connection: psycopg.Connection) -> AbstractContextManager[None]:
        return answering(self.greet, partial(hang_up, connection))

    def heard_at(self) -> float:
        return self._stream.heard_at if self._stream else 0.0

    def ask(self) -> None:
        if self._is_ahead:
            self._is_ahead = False
            with self._ordinary() as ordinary:
                # Ends in a commit that is written at once, and with it all that is before it.
                ordinary.execute("set synchronous_commit = local")
                ordinary.execute(f"select pg_logical_emit_message(true, '{PUBLICATION}', '')")
        if self._stream is not None:
            # An answer comes at once, also where it is not yet the one that is waited for.
            if time.monotonic() - self._asked < 0.002:
                time.sleep(0.002)
            self._asked = time.monotonic()
            self._stream.ask()

    def ends(self, place: Place | None) -> bool:
        return place is not None and place[0] >= self._until

    def shows(self, heard: Heard) -> bool:
        if heard.xid is None:
            return True
        low, high, between = self._unseen
        # The stream has the lower half of a number.
        number = (high & ~0xFFFFFFFF) | heard.xid
        if number > high + 2**31:
            number -= 2**32
        elif number < high - 2**31:
            number += 2**32
        return number < low or (number < high and number not in between)

    def learn(self, source: Source, tables: Sequence[Table]) -> None:
        assert isinstance(source, PostgresSource)
        shapes = read_shapes(source, tables)
        names = [s.name for s in shapes.values() if s.key]
        added = self._publish(names, source.schema)
        for shape in shapes.values():
            if shape.key and shape.name not in self._published:
                shape.key, shape.why = (), f"the publication {PUBLICATION} does not have it"
        self._shapes |= shapes
        for gone in self._shapes.keys() - shapes.keys():
            del self._shapes[gone]
        # A table that was just published is compared once more: its changes are heard from now on.
        self._marks = self._shape_marks(source) | dict.fromkeys(added, "")

    def _publish(self, names: Sequence[str], schema: str) -> Sequence[str]:
        """Let the publication have these tables, as far as the user may; those that it added."""
        with self._ordinary() as ordinary:
            ordinary.autocommit = True
            found = ordinary.execute(
                "select p.oid, t.tablename from pg_publication as p left join"
                " pg_publication_tables as t on p.pubname = t.pubname and t.schemaname = %s"
                " where p.pubname = %s",
                [schema, PUBLICATION],
            ).fetchall()
            self._published = {name for _, name in found if name}
            missing = [name for name in names if name not in self._published]
            listed = sql.SQL(", ").join(sql.Identifier(schema, name) for name in missing)
            name = sql.Identifier(PUBLICATION)
            try:
                if not found:
                    ordinary.execute(
                        sql.SQL(
                            "create publication {} {} with (publish_via_partition_root = true)"
                        ).format(
                            name, sql.SQL("for table {}").format(listed) if names else sql.SQL("")
                        )
                    )
                elif missing:
                    ordinary.execute(
                        sql.SQL("alter publication {} add table {}").format(name, listed)
                    )
                self._published |= set(missing)
                ((newest,),) = ordinary.execute(NEWEST).fetchall()
                self._fresh |= dict.fromkeys(missing, int(newest))
                return missing
            except psycopg.errors.InsufficientPrivilege as error:
                if not found:
                    raise LoadError(
                        f"The publication {PUBLICATION} cannot be created ({said(error)}): let the"
                        f" owner of the tables create it, or grant create on the database to"
                        f" {self._url.user}."
                    ) from None
                return ()

    def _shape_marks(self, source: PostgresSource) -> dict[str, str]:
        return dict(source.rows(SHAPES, source.schema))

    def reshaped(self, source: Source) -> Heard:
        assert isinstance(source, PostgresSource)
        now, before = self._shape_marks(source), self._marks or {}
        heard = Heard()
        names = {shape.name: shape.raw_name for shape in self._shapes.values()}
        for name in now.keys() | before.keys():
            if now.get(name) != before.get(name):
                heard.reshaped = True
                if name in names and name in now:
                    heard.whole(names[name], DEFINED)
        for name, first in list(self._fresh.items()):
            if self._unseen[0] >= first:
                del self._fresh[name]
                if name in names:
                    why = "transactions ended that began before it was heard of"
                    heard.whole(names[name], why, told=False)
        return heard

    def marks(self) -> dict[str, str]:
        found = self._marks or {}
        return {
            s.raw_name: f"{FRESH}{self._fresh[s.name]}" if s.name in self._fresh
            else found.get(s.name, "")
            for s in self._shapes.values()
        }  # fmt: skip

    def changed(self, before: Mapping[str, str]) -> Heard:
        for shape in self._shapes.values():
            mark = before.get(shape.raw_name, "")
            if mark.startswith(FRESH):
                self._fresh.setdefault(shape.name, int(mark.removeprefix(FRESH)))
        return super().changed(before)

    def key_columns(self) -> Mapping[str, tuple[str, ...]]:
        return {shape.raw_name: shape.key for shape in self._shapes.values()}

    def confirm(self, place: Place) -> None:
        if self._stream is not None:
            self._stream.confirm(place[0])

    def behind(self, published: Place | None) -> int | None:
        stream = self._stream
        if stream is None or published is None:
            return None
        return max(0, stream.read - int(published[0]))

    def kept(self) -> int | None:
        try:
            with self._ordinary() as ordinary:
                row = ordinary.execute(
                    "select pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint"
                    " from pg_replication_slots where slot_name = %s",
                    [self.slot],
                ).fetchone()
        except (LoadError, psycopg.Error):
            return None
        return int(row[0]) if row and row[0] is not None else None

    def close(self) -> None:
        self.channel.close()
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def silent(self) -> dict[str, str]:
        return {s.raw_name: s.why for s in self._shapes.values() if not s.key}

    def _emptied(self, heard: Heard, relation: Relation) -> None:
        shape = self._shapes.get((relation.schema, relation.name))
        if shape is not None:
            heard.whole(shape.raw_name, "the source ran truncate")

    def _row(self, heard: Heard, relation: Relation, change: Change) -> None:
        shape = self._shapes.get((relation.schema, relation.name))
        if shape is None or not shape.key:
            return
        try:
            new = _key(shape, relation, change.new) if change.new else None
            old = _key(shape, relation, change.old) if change.old else None
        except (ValueError, LookupError) as error:
            heard.whole(shape.raw_name, f"a key in the log cannot be read ({error})")
            return
        if old is not None and old != new:
            heard.row(shape.raw_name, old, exists=False)
        if new is not None:
            heard.row(shape.raw_name, new, exists=True)


def _key(shape: Shape, relation: Relation, values: Values) -> tuple[bytes, ...]:
    """The key of a row, spelled as it travels in a load."""
    fields = []
    for name, base in zip(shape.key, shape.bases, strict=True):
        value = values[relation.columns.index(name)]
        if value is None or value == UNCHANGED:
            raise ValueError("a part of it is missing")
        text = value.decode()
        if text.lower() in UNREADABLE:
            raise ValueError(text)
        if base == "timestamptz":
            text = text.replace("+00", "", 1)
        fields.append(escape(text).encode())
    return tuple(fields)
