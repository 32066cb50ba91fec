"""One load: snapshot, stage, read back and compare, publish all tables at once, audit."""

import fnmatch
import hashlib
import queue
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from .audit import STATE_TABLES, TABLES, Record
from .destinations import Changes, Destination, Stamp
from .errors import LoadError, UsageError
from .options import Options
from .plan import Plan, make_plan
from .progress import Progress, Silent
from .ranges import Digests
from .schema import METADATA_COLUMNS, Column, Table
from .sources import Source, open_source
from .urls import parse_url
from .wire import Block, Issues, without_losses

# Blocks of about 1 MB that may wait between the source and the destination.
BLOCKS_AHEAD = 4
DEFAULTS = Options()


@dataclass
class TableResult:
    """What a run did to one table; `seconds` of wall time, `bytes_read` as the source sent them."""

    plan: Plan
    issues: Issues
    status: str = "pending"
    rows_read: int = 0
    bytes_read: int = 0
    seconds: float = 0.0
    changes: Changes = field(default_factory=Changes)
    error: str | None = None
    # The digests that the source gave while it was read.
    digests: Digests = field(default_factory=dict)

    @property
    def table(self) -> Table:
        """The table that was read."""
        return self.plan.table


@dataclass
class LoadResult:
    """What a run did. `started_at` and `finished_at` are UTC without a zone."""

    batch_id: str
    source: str
    target: str
    started_at: datetime
    finished_at: datetime | None = None
    tables: list[TableResult] = field(default_factory=list)

    @property
    def issue_count(self) -> int:
        """Values that could not be kept exactly, over all tables."""
        return sum(issue.count for table in self.tables for issue in table.issues.found.values())


def load(
    source_url: str,
    destination: Destination,
    options: Options = DEFAULTS,
    *,
    progress: Progress | None = None,
) -> LoadResult:
    """Replicate the tables of a source into the raw schema of a destination.

    Raises LoadError (UsageError for a request that makes no sense); the warehouse is then as it
    was, but for the audit of the failure.
    """
    progress = progress or Silent()
    result = LoadResult(
        batch_id="",
        source=str(parse_url(source_url)),
        target=destination.description,
        started_at=_now(),
    )
    result.batch_id = result.started_at.strftime("%Y%m%dT%H%M%S%fZ_") + secrets.token_hex(2)
    source: Source | None = None
    try:
        source = open_source(source_url)
        destination.open()
        result.target = destination.description
        last = destination.last_loaded_at()
        if last is not None and result.started_at <= last:
            # A clock that was set back must not make new rows older than what readers have seen.
            result.started_at = last + timedelta(microseconds=1)
        stamp = Stamp(result.batch_id, result.started_at)
        tables = _chosen_tables(source, options, destination.name_limit)
        for table in tables:
            _check_existing(table, destination)
        progress.begin(tables)
        for table in tables:
            plan = make_plan(table, source, destination, options)
            result.tables.append(TableResult(plan, Issues(table)))
        for entry in result.tables:
            _stage(entry, source, destination, stamp, progress)
        source.close()
        if options.strict and result.issue_count:
            raise LoadError(_strict_message(result))
        destination.begin_publish()
        for entry in result.tables:
            _publish(entry, destination, stamp, options)
        result.finished_at = _now()
        destination.commit(_records(result, "succeeded", None))
    except LoadError as error:
        result.finished_at = _now()
        destination.record_failure(_records(result, "failed", str(error)))
        raise
    finally:
        progress.end()
        if source is not None:
            source.close()
        destination.close()
    return result


def _chosen_tables(source: Source, options: Options, name_limit: int | None) -> list[Table]:
    select, exclude = options.select, options.exclude

    def wanted(name: str) -> bool:
        return any(_matches(name, pattern) for pattern in select)

    found = source.tables(wanted if select else None)
    names = {table.name for table in found}
    for pattern in select:
        if not any(_matches(name, pattern, names) for name in names):
            have = ", ".join(sorted(names)) or "no tables"
            raise UsageError(
                f"--select {pattern}: the source {source.url} has no such table (it has {have})."
            )
    tables = [
        table
        for table in found
        if (not select or any(_matches(table.name, pattern, names) for pattern in select))
        and not any(_matches(table.name, pattern, names) for pattern in exclude)
    ]
    if not tables:
        raise LoadError(
            f"The source {source.url} has no tables to load: check the database (and schema) in the"
            " URL, and that its user may see them."
        )
    shortened = [_shorten(table, name_limit) for table in tables]
    _refuse_clashes("tables", [(table.name, table.raw_name) for table in shortened], "the source")
    for table in shortened:
        if not table.columns:
            raise LoadError(f"The source table {table.name} has no columns: exclude it.")
        if table.raw_name in TABLES | STATE_TABLES:
            raise LoadError(
                f"The source table {table.name} has the name of one of the loader's own tables:"
                " exclude it."
            )
        reserved = [c.name for c in table.columns if c.raw_name in METADATA_COLUMNS]
        if reserved:
            raise LoadError(
                f"The source column {table.name}.{reserved[0]} has the name of a column that the"
                " loader adds: exclude the table, or read a view that renames it."
            )
        _refuse_clashes("columns", [(c.name, c.raw_name) for c in table.columns], table.name)
    return shortened


def _matches(name: str, pattern: str, names: Collection[str] = ()) -> bool:
    """Whether a pattern means a table, in any case; a pattern that is one's exact name means it."""
    if pattern in names:
        return name == pattern
    return fnmatch.fnmatchcase(name.lower(), pattern.lower())


def _refuse_clashes(what: str, names: list[tuple[str, str]], where: str) -> None:
    seen: dict[str, str] = {}
    for name, raw_name in names:
        if raw_name in seen:
            raise LoadError(
                f"The {what} {seen[raw_name]} and {name} of {where} have one name in lower case"
                f" ({raw_name}), which the warehouse cannot tell apart: rename one, or exclude"
                f" {'one' if what == 'tables' else 'the table'}."
            )
        seen[raw_name] = name


def _shorten(table: Table, limit: int | None) -> Table:
    """Names that the destination would cut silently get a short digest at their end instead."""
    if limit is None:
        return table

    def short(name: str) -> str:
        encoded = name.encode()
        if len(encoded) <= limit:
            return name
        digest = hashlib.sha256(encoded).hexdigest()[:8]
        return encoded[: limit - 9].decode("utf-8", "ignore") + "_" + digest

    columns: tuple[Column, ...] = tuple(
        replace(c, raw_name=short(c.raw_name)) for c in table.columns
    )
    return replace(table, raw_name=short(table.raw_name), columns=columns)


def _check_existing(table: Table, destination: Destination) -> None:
    """A raw table that is there must be the loader's, and its types must hold the source's."""
    existing = destination.columns(table.raw_name)
    if existing is None:
        return
    if not all(name in existing for name in METADATA_COLUMNS):
        raise LoadError(
            f"The relation {table.raw_name} in the raw schema was not made by this loader (it has"
            " no _loaded_at): move it away, or choose another --raw-schema."
        )
    for column in table.columns:
        kind = existing.get(column.raw_name, column.type)
        if kind != column.type:
            raise LoadError(
                f"The source column {table.name}.{column.name} is {column.type} now, but"
                f" {kind or 'of another type'} in the warehouse: drop the raw table"
                f" {table.raw_name} to load it anew, or exclude it."
            )


def _stage(
    entry: TableResult, source: Source, destination: Destination, stamp: Stamp, progress: Progress
) -> None:
    table = entry.table
    started = time.monotonic()
    progress.table(table)

    def counted(blocks: Iterator[Block]) -> Iterator[Block]:
        for block in blocks:
            entry.rows_read += block.rows
            entry.bytes_read += len(block.data)
            progress.advance(block.rows, len(block.data))
            yield block

    if entry.plan.reads_nothing:
        entry.changes = Changes(live=sum(digest.rows for digest in entry.plan.now.values()))
        return
    scope = entry.plan.scope
    try:
        with _Ahead(lambda: source.read(table, scope, entry.issues)) as blocks:
            kept = without_losses(
                counted(iter(blocks)),
                entry.issues,
                keeps_nul=destination.keeps_nul,
                marks_infinity=source.marks_infinity,
            )
            sent = destination.stage(table, kept, stamp)
        held = destination.read_back(table)
        if (sent.rows, sent.size, sent.digest) != (held.rows, held.size, held.digest):
            raise LoadError(
                f"The table {table.raw_name} does not read back as it was sent ({sent.rows} rows"
                f" and {sent.size} bytes sent, {held.rows} rows and {held.size} bytes in the"
                " warehouse): nothing was published."
            )
    except LoadError as error:
        entry.status, entry.error = "failed", str(error)
        raise
    finally:
        entry.seconds += time.monotonic() - started
    for column in table.columns:
        if column.note:
            entry.issues.add(column, column.note, None, sent.rows)
    entry.digests = scope.digests
    entry.status = "staged"


def _publish(entry: TableResult, destination: Destination, stamp: Stamp, options: Options) -> None:
    started = time.monotonic()
    plan, name = entry.plan, entry.table.raw_name
    keyed = bool(entry.table.key) and not entry.issues.touches_key()
    try:
        if not plan.reads_nothing:
            entry.changes = destination.publish(entry.table, stamp, keyed=keyed, within=plan.within)
        changes = entry.changes
        expected = _expected_rows(entry)
        if expected is not None and changes.live != expected:
            raise LoadError(
                f"The table {name} has {changes.live} live rows after the load, but the source has"
                f" {expected}: nothing was published. If somebody else wrote into it, load it again"
                " with --mode full."
            )
        lived = changes.live + changes.deleted - changes.inserted
        if changes.deleted > lived * options.max_delete_share:
            raise LoadError(
                f"{changes.deleted} of {lived} rows of {name} are gone from the source, more than"
                f" --max-delete-share {options.max_delete_share:g} allows: nothing was published."
                " If that is right, allow a larger share."
            )
        destination.save_state(name, plan.before, plan.state(entry.digests))
    except LoadError as error:
        entry.status, entry.error = "failed", str(error)
        raise
    finally:
        entry.seconds += time.monotonic() - started
    entry.status = "succeeded"


def _expected_rows(entry: TableResult) -> int | None:
    """How many live rows the table must have now, or None where only new rows were read."""
    if entry.plan.mode == "diff":
        return sum(digest.rows for digest in entry.plan.now.values())
    return None if entry.plan.after is not None else entry.rows_read


class _Ahead:
    """Reads a source in a thread, a few blocks ahead of whoever consumes them."""

    def __init__(self, read: Callable[[], Iterator[Block]]) -> None:
        self._read = read
        self._queue: queue.Queue[Block | BaseException | None] = queue.Queue(BLOCKS_AHEAD)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "_Ahead":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        while self._thread.is_alive():
            # A full queue may be what the thread waits for.
            while not self._queue.empty():
                self._queue.get_nowait()
            self._thread.join(0.05)

    def __iter__(self) -> Iterator[Block]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def _run(self) -> None:
        try:
            for block in self._read():
                self._queue.put(block)
                if self._stop.is_set():
                    return
        except BaseException as error:
            self._queue.put(error)
        self._queue.put(None)


def _strict_message(result: LoadResult) -> str:
    table, (column, reason), issue = next(
        (entry.table, where, issue)
        for entry in result.tables
        for where, issue in entry.issues.found.items()
    )
    at = f" (for example where the key is {issue.sample_key})" if issue.sample_key else ""
    return (
        f"With --strict nothing was published: {table.name}.{column}: {reason}, {issue.count}"
        f" rows{at}; {result.issue_count} values in all."
    )


def _records(result: LoadResult, status: str, error: str | None) -> list[Record]:
    """The audit rows of a run."""
    failed = status == "failed"
    tables = result.tables
    run = {
        "batch_id": result.batch_id,
        "source": result.source,
        "target": result.target,
        "started_at": result.started_at,
        "finished_at": result.finished_at,
        "status": status,
        "error": error,
        "tables": len(tables),
        "rows_read": sum(entry.rows_read for entry in tables),
        "rows_inserted": 0 if failed else sum(entry.changes.inserted for entry in tables),
        "rows_updated": 0 if failed else sum(entry.changes.updated for entry in tables),
        "rows_deleted": 0 if failed else sum(entry.changes.deleted for entry in tables),
        "issues": result.issue_count,
    }
    records = [Record("_load_runs", run)]
    for entry in tables:
        changes = Changes() if failed else entry.changes
        records.append(
            Record(
                "_load_tables",
                {
                    "batch_id": result.batch_id,
                    "table_name": entry.table.raw_name,
                    "source_table": entry.table.name,
                    "mode": entry.plan.mode,
                    # In a failed run nothing was published, however far a table had come.
                    "status": "failed" if failed else entry.status,
                    "rows_read": entry.rows_read,
                    "rows_inserted": changes.inserted,
                    "rows_updated": changes.updated,
                    "rows_deleted": changes.deleted,
                    "rows_live": None if failed else changes.live,
                    "bytes_read": entry.bytes_read,
                    "seconds": round(entry.seconds, 3),
                    "error": entry.error,
                },
            )
        )
        records.extend(
            Record(
                "_load_issues",
                {
                    "batch_id": result.batch_id,
                    "table_name": entry.table.raw_name,
                    "column_name": column,
                    "reason": reason,
                    "value_count": issue.count,
                    "sample_key": issue.sample_key,
                },
            )
            for (column, reason), issue in entry.issues.found.items()
        )
    return records


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
