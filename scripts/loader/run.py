"""One load: snapshot, stage, read back and compare, publish all tables at once, audit."""

import fnmatch
import hashlib
import queue
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from .audit import STATE_TABLES, TABLES, Record
from .destinations import Changes, Destination, Stamp
from .drift import (
    SchemaChange,
    Schemas,
    dropped_tables,
    is_rekeyed,
    table_changes,
    widened_types,
    without_new_columns,
)
from .errors import LoadError, UsageError
from .options import Options, column_matches
from .plan import Plan, arriving, make_plan, refuse_unfit
from .progress import Progress, Silent
from .ranges import Digests
from .schema import METADATA_COLUMNS, Table
from .sources import Source, open_source
from .urls import parse_url
from .wire import Block, Issues, Tally, hashed, parts, without_losses

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
    schema_changes: list[SchemaChange] = field(default_factory=list)
    # Whether an earlier run saw the source; else all of it is new, which is no news.
    known_before: bool = False
    # What a person should know although the load went well.
    warnings: list[str] = field(default_factory=list)

    @property
    def issue_count(self) -> int:
        """Values that could not be kept exactly, over all tables."""
        return sum(issue.count for table in self.tables for issue in table.issues.found.values())


def plan_load(
    source_url: str, destination: Destination, options: Options
) -> tuple[list[Plan], list[str]]:
    """How each table would be read, and what to warn of. Writes nothing; raises as `load` does."""
    source = open_source(source_url)
    try:
        destination.open()
        tables, _ = chosen_tables(source, options, destination, destination.schemas())
        tables, _ = follow_policies(tables, options, destination.schemas())
        plans = [make_plan(table, source, destination, options) for table in tables]
        return plans, [*source.warnings, *destination.warnings]
    finally:
        source.close()
        destination.close()


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
        # The destination first, so that a source that cannot be reached is on record there.
        destination.open()
        result.target = destination.description
        source = open_source(source_url)
        last = destination.last_loaded_at()
        if last is not None and result.started_at <= last:
            # A clock that was set back must not make new rows older than what readers have seen.
            result.started_at = last + timedelta(microseconds=1)
        stamp = Stamp(result.batch_id, result.started_at)
        known = destination.schemas()
        result.known_before = bool(known)
        tables, gone = chosen_tables(source, options, destination, known)
        tables, changes = follow_policies(tables, options, known)
        result.schema_changes = [*gone, *changes]
        result.warnings = [*source.warnings, *destination.warnings]
        for table in tables:
            existing = destination.columns(table.raw_name)
            if existing is not None and not options.full_refresh:
                # Before the source is asked for rows: what cannot be held fails early.
                widened_types(arriving(table), existing)
        progress.begin(tables)
        plans = [make_plan(table, source, destination, options) for table in tables]
        refuse_unfit(plans)
        for table, plan in zip(tables, plans, strict=True):
            hides_key = plan.table.key_columns != table.key_columns
            result.tables.append(TableResult(plan, Issues(plan.table, hides_key)))
        for entry in result.tables:
            _stage(entry, source, destination, stamp, progress, options)
        source.close()
        if options.strict and result.issue_count:
            raise LoadError(_strict_message(result))
        destination.begin_publish()
        for entry in result.tables:
            _publish(entry, destination, stamp, options)
        result.finished_at = _now()
        destination.commit(_records(result, "succeeded", None))
    except UsageError:
        raise
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


def chosen_tables(
    source: Source, options: Options, destination: Destination, known: Schemas
) -> tuple[list[Table], list[SchemaChange]]:
    """The tables that the options want, as they will be asked for, and those that are gone."""
    chosen: set[str] = set()
    limit = destination.name_limit
    gone = []

    def wanted(names: Mapping[str, bool]) -> Collection[str]:
        for pattern in options.select:
            if not any(_matches(name, pattern, names) for name in names):
                have = ", ".join(sorted(names)) or "no tables"
                raise UsageError(
                    f"--select {pattern}: the source {source.url} has no such table"
                    f" (it has {have})."
                )
        folded = {name.lower() for name in names}
        source.warnings.extend(
            f"The configuration has settings for the table {name}, which the source does not have."
            for name in options.tables
            if name.lower() not in folded
        )
        chosen.update(
            name
            for name, is_view in names.items()
            if (_any_matches(name, options.select, names) if options.select else not is_view)
            and not _any_matches(name, options.exclude, names)
        )
        if not options.select:
            gone.extend(dropped_tables({_short(name.lower(), limit) for name in names}, known))
        return chosen

    found = [_shorten(table, limit) for table in source.tables(wanted)]
    tables = [table for table in found if table.name in chosen]
    if not tables:
        raise LoadError(
            f"The source {source.url} has no tables to load: check the database (and schema) in the"
            " URL, and that its user may see them."
        )
    _refuse_unmatched(found, options, destination)
    tables = [_treated(table, options, known) for table in tables]
    _refuse_unfit(tables)
    return tables, gone


def follow_policies(
    tables: list[Table], options: Options, known: Schemas
) -> tuple[list[Table], list[SchemaChange]]:
    """The tables as far as their policies let them change, and how they changed."""
    kept, changes = without_news(tables, options, known), []
    for table in kept:
        of_table = table_changes(table, known)
        if options.of(table.name).policy == "freeze" and known and of_table:
            raise LoadError(
                f"The source changed, and the policy is freeze: {'; '.join(map(str, of_table))}."
                " Nothing was written; allow it with --policy evolve or ignore-new."
            )
        for change in of_table:
            excluded = column_matches(options.exclude_columns, table.name, change.column or "")
            if table.shows_part and change.change == "column dropped" and not excluded:
                raise LoadError(
                    f"The column {table.name}.{change.column} is gone, or the user may not read it"
                    " any more: there are columns of the table that the user may not see. Grant"
                    " SELECT on it, or leave it out with --exclude-columns."
                )
        changes.extend(of_table)
    return kept, changes


def without_news(tables: list[Table], options: Options, known: Schemas) -> list[Table]:
    """The tables without the new ones, and the new columns, of those with the policy ignore-new."""
    return [
        without_new_columns(table, known) if ignores else table
        for table in tables
        for ignores in [options.of(table.name).policy == "ignore-new"]
        if not (ignores and known and table.raw_name not in known)
    ]


def _refuse_unmatched(found: list[Table], options: Options, destination: Destination) -> None:
    """Raise for a pattern of columns that means none: personal data might arrive."""

    def means(pattern: str, table: Table) -> bool:
        if any(column_matches((pattern,), table.name, c.name) for c in table.columns):
            return True
        of_table, dot, _ = pattern.partition(".")
        if not table.columns and dot and _matches(table.name, of_table):
            # What columns a file has that was not wanted, and so not read, nobody knows.
            return True
        # A column that is hidden from the user may be meant; one that is gone may have a new name.
        held = (destination.columns(table.raw_name) or {}) if table.shows_part else {}
        return any(column_matches((pattern,), table.name, name) for name in held)

    for option, patterns in (
        ("--exclude-columns", options.exclude_columns),
        ("--hash-columns", options.hash_columns),
    ):
        for pattern in patterns:
            if not any(means(pattern, table) for table in found):
                raise UsageError(
                    f"{option} {pattern}: no table of the source has such a column (any more): name"
                    " it as it is called now, or take it out."
                )
    if options.hash_columns and not options.hash_salt:
        raise UsageError("--hash-columns needs a salt: set LOAD_HASH_SALT in the environment.")


def _treated(table: Table, options: Options, known: Schemas) -> Table:
    """The table without its excluded columns, and with a mark at those that will be hashed.

    Raises UsageError where rows that are in the warehouse could not be found again by their key.
    """
    salt = hashlib.sha256((options.hash_salt or "").encode()).hexdigest()[:8]
    hashes, leaves_out = options.hash_columns, options.exclude_columns
    columns = tuple(
        replace(c, hashed=salt if column_matches(hashes, table.name, c.name) else "")
        for c in table.columns
        if not column_matches(leaves_out, table.name, c.name)
    )
    now = {column.name: column for column in columns}
    before = known.get(table.raw_name, {})
    for column in table.key_columns:
        if not options.full_refresh and is_rekeyed(now.get(column.name), before, column.raw_name):
            raise UsageError(
                f"The key column {table.name}.{column.name} was loaded in another way before"
                " (hashed, not hashed, with another salt, or not left out), so rows cannot be found"
                " again: add --full-refresh once."
            )
    return replace(table, columns=columns, key=table.key if now.keys() >= {*table.key} else ())


def _refuse_unfit(tables: list[Table]) -> None:
    """Raise for names that the warehouse cannot tell apart, or that are the loader's own."""
    _refuse_clashes("tables", [(table.name, table.raw_name) for table in tables], "the source")
    for table in tables:
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
                " loader adds: leave it out with --exclude-columns, or read a view that renames it."
            )
        _refuse_clashes("columns", [(c.name, c.raw_name) for c in table.columns], table.name)


def _matches(name: str, pattern: str, names: Collection[str] = ()) -> bool:
    """Whether a pattern means a table, in any case; a pattern that is one's exact name means it."""
    if pattern in names:
        return name == pattern
    return fnmatch.fnmatchcase(name.lower(), pattern.lower())


def _any_matches(name: str, patterns: Sequence[str], names: Collection[str] = ()) -> bool:
    return any(_matches(name, pattern, names) for pattern in patterns)


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


def _short(name: str, limit: int | None) -> str:
    """A name that the destination would cut silently gets a short digest at its end instead."""
    encoded = name.encode()
    if limit is None or len(encoded) <= limit:
        return name
    digest = hashlib.sha256(encoded).hexdigest()[:8]
    return encoded[: limit - 9].decode("utf-8", "ignore") + "_" + digest


def _shorten(table: Table, limit: int | None) -> Table:
    columns = tuple(replace(c, raw_name=_short(c.raw_name, limit)) for c in table.columns)
    return replace(table, raw_name=_short(table.raw_name, limit), columns=columns)


def _evolve(plan: Plan, destination: Destination, options: Options) -> None:
    """Let the published table hold what was staged."""
    table = plan.table
    if options.full_refresh and destination.columns(table.raw_name) is not None:
        destination.empty(table.raw_name)
    existing = destination.columns(table.raw_name)
    if existing is None:
        return
    if options.full_refresh:
        types = {c.raw_name: c.type for c in table.columns}
        changed = {name: kind for name, kind in types.items() if existing.get(name, kind) != kind}
    else:
        changed = widened_types(table, existing)
    added = [column for column in table.columns if column.raw_name not in existing]
    if added or changed:
        destination.evolve(table.raw_name, added, changed)


def _stage(
    entry: TableResult,
    source: Source,
    destination: Destination,
    stamp: Stamp,
    progress: Progress,
    options: Options,
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
    scope, source_table = entry.plan.scope, entry.plan.source_table
    try:
        destination.create_staging(table, stamp)
        with (
            _Ahead(lambda: source.read(source_table, scope, entry.issues)) as blocks,
            ThreadPoolExecutor(max_workers=1) as aside,
        ):
            kept = prepared(
                counted(iter(blocks)), source_table, entry.issues, source, destination, options
            )
            # Part by part, so that the source goes on while the warehouse reads back.
            comparing: Future[None] | None = None
            for part in parts(kept):
                sent = destination.stage(table, part)
                if comparing is not None:
                    comparing.result()
                comparing = aside.submit(_compare, table, sent, destination)
                if not destination.reads_aside:
                    comparing.result()
            if comparing is not None:
                comparing.result()
    except LoadError as error:
        entry.status, entry.error = "failed", str(error)
        raise
    finally:
        entry.seconds += time.monotonic() - started
    for column in table.columns:
        if column.note:
            entry.issues.add(column, column.note, None, entry.rows_read)
    entry.digests = scope.digests
    entry.status = "staged"


def _compare(table: Table, sent: Tally, destination: Destination) -> None:
    held = destination.read_back(table, sent.rows)
    if (sent.rows, sent.size, sent.digest) != (held.rows, held.size, held.digest):
        raise LoadError(
            f"The table {table.raw_name} does not read back as it was sent ({sent.rows} rows"
            f" and {sent.size} bytes sent, {held.rows} rows and {held.size} bytes in the"
            " warehouse): nothing was published."
        )


def prepared(
    blocks: Iterator[Block],
    table: Table,
    issues: Issues,
    source: Source,
    destination: Destination,
    options: Options,
) -> Iterator[Block]:
    """Rows of a source table as the destination will hold them: losses counted, secrets hashed."""
    kept = without_losses(
        blocks,
        issues,
        keeps_nul=destination.keeps_nul,
        marks_infinity=source.marks_infinity,
    )
    secret = [n for n, c in enumerate(table.columns) if c.hashed]
    return hashed(kept, secret, options.hash_salt or "") if secret else kept


def _publish(entry: TableResult, destination: Destination, stamp: Stamp, options: Options) -> None:
    started = time.monotonic()
    plan, name = entry.plan, entry.table.raw_name
    keyed = bool(entry.table.key) and not entry.issues.touches_key()
    try:
        if not plan.reads_nothing:
            _evolve(plan, destination, options)
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
        # Without a key a changed row looks like one that is gone and one that is new.
        gone = changes.deleted if keyed else max(0, lived - changes.live)
        if gone > lived * options.max_delete_share:
            raise LoadError(
                f"{gone} of {lived} rows of {name} are gone from the source, more than"
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
    if not failed:
        records.extend(
            Record(
                "_load_schema_changes",
                {
                    "batch_id": result.batch_id,
                    "changed_at": result.started_at,
                    "table_name": change.table,
                    "column_name": change.column,
                    "change": change.change,
                    "declared_before": change.before,
                    "declared_after": change.after,
                },
            )
            for change in result.schema_changes
        )
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
