"""One load: snapshot, stage, read back and compare, publish all tables at once, audit."""

import secrets
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

from .contract import Checker, ContractError
from .destinations import Changes, Destination, Rows, Stamp
from .drift import SchemaChange, Schemas, widened_types
from .errors import LoadError, UsageError
from .fitting import fitting
from .keys import has_key
from .options import Options
from .part import Part, check_keys, save_position
from .plan import Plan, arriving, make_plan, refuse_unfit
from .prefetch import Prefetch
from .progress import Progress, Silent
from .result import LoadResult, TableResult, audit_records
from .schema import Column, Table
from .selection import chosen_tables, follow_policies
from .sources import Source, import_aside, open_source
from .urls import parse_url
from .wire import Block, Issues, Tally, chunks, hashed, without_losses

DEFAULTS = Options()


@dataclass
class Preview:
    """What a load would do: how each table would be read, how the source has changed, and warnings.

    `left_out`: what of the source would not be read, and why. `problem`: why it would publish
    nothing, or "".
    """

    plans: list[Plan]
    changes: list[SchemaChange]
    left_out: Mapping[str, str]
    warnings: list[str]
    problem: str = ""


def plan_load(source_url: str, destination: Destination, options: Options) -> Preview:
    """What a load would do. Writes nothing; raises as `load` does, but for a broken contract."""
    source = open_source(source_url)
    try:
        destination.open()
        known = destination.schemas()
        tables, gone, unread = chosen_tables(source, options, destination, known)
        problem = ""
        try:
            tables = _checker(source, destination, options, known, _now()).check(tables, unread)
        except ContractError as error:
            problem = str(error)
        tables, changes = follow_policies(tables, options, known)
        plans = [make_plan(table, source, destination, options) for table in tables]
        changes = [*gone, *changes] if known else []
        warnings = [*source.warnings, *destination.warnings]
        return Preview(plans, changes, source.left_out, warnings, problem)
    finally:
        source.close()
        destination.close()


def _checker(
    source: Source, destination: Destination, options: Options, known: Schemas, now: datetime
) -> Checker:
    return Checker(source, destination, options, known, now.date())


def load(
    source_url: str,
    destination: Destination,
    options: Options = DEFAULTS,
    *,
    progress: Progress | None = None,
    part: Part | None = None,
) -> LoadResult:
    """Replicate the tables of a source, or the part that a watcher asks for, into the raw schema.

    Raises LoadError (UsageError for a wrong request); the warehouse is then as it was, except that
    the audit records the failure.
    """
    progress = progress or Silent()
    result = LoadResult(
        batch_id="",
        source=str(parse_url(source_url)),
        target=destination.description,
        started_at=_now(),
    )
    result.batch_id = _batch_id(result.started_at)
    source: Source | None = None
    try:
        if part is None:
            import_aside(source_url)
        # The destination first, so that the audit records an unreachable source.
        destination.open()
        result.target = destination.description
        source = part.source if part else open_source(source_url)
        last = result.follows = destination.last_loaded_at()
        if last is not None and result.started_at <= last:
            # If the clock was set back, new rows must still be newer than what readers have seen.
            result.started_at = last + timedelta(microseconds=1)
            result.batch_id = _batch_id(result.started_at)
        stamp = Stamp(result.batch_id, result.started_at)
        known = destination.schemas()
        result.known_before = bool(known)
        tables, gone, unread = chosen_tables(source, options, destination, known)
        result.gone = [change.table for change in gone if change.column is None]
        checker = _checker(source, destination, options, known, result.started_at)
        tables = checker.check(tables, unread)
        tables, changes = follow_policies(tables, options, known)
        if part is not None:
            tables, changes = part.chosen(tables, changes, destination)
        result.schema_changes = [*gone, *changes]
        for table in tables:
            existing = destination.columns(table.raw_name)
            if existing is not None and not options.full_refresh:
                # Before rows are read: a type that the warehouse cannot hold fails early.
                widened_types(arriving(table), existing)
        progress.begin(tables)
        plans = []
        for table in tables:
            plan = part.plan(table, changes, destination) if part else None
            plans.append(plan or make_plan(table, source, destination, options))
        refuse_unfit(plans)
        for table, plan in zip(tables, plans, strict=True):
            hides_key = plan.table.key_columns != table.key_columns
            entry = TableResult(plan, Issues(plan.table, hides_key))
            entry.rekeyed = checker.rekeyed(table)
            if part and not entry.rekeyed:
                entry.told_gone = part.gone.get(table.raw_name, 0)
            result.tables.append(entry)
        destination.expect([e.table for e in result.tables if not e.plan.reads_nothing])
        # The source counts the rows of what did not change while the rest is staged.
        in_turn = sorted(result.tables, key=lambda entry: entry.plan.reads_nothing)
        with Prefetch([partial(_read, entry, source) for entry in in_turn]) as reading:
            for entry in in_turn:
                _stage(entry, reading, source, destination, stamp, progress, options)
        source.check_unmoved([entry.table for entry in in_turn])
        if part is None or not part.is_read_again:
            source.close()
        result.warnings = list(source.warnings)
        result.left_out = source.left_out
        if options.strict and result.issue_count:
            raise LoadError(_strict_message(result))
        destination.begin_publish()
        for entry in result.tables:
            told = part is not None and part.tells(entry.table.raw_name)
            # What a log tells is deleted is no mistake.
            allowed = replace(options, max_delete_share=1.0) if told else options
            by_key = part is not None and entry.plan.keys is not None
            live = part.live_rows(entry.table, last) if part and by_key else None
            _publish(entry, destination, stamp, allowed, result, live)
        result.warnings += destination.warnings
        save_position(destination, part, result, source.url)
        result.finished_at = _now()
        is_run = part is None or result.tables or result.schema_changes or result.gone
        destination.commit(audit_records(result, "succeeded", None) if is_run else [])
    except UsageError:
        raise
    except LoadError as error:
        if isinstance(error, ContractError):
            result.gone = list(error.gone)
        result.finished_at = _now()
        destination.record_failure(audit_records(result, "failed", str(error)))
        raise
    finally:
        progress.end()
        if source is not None and (part is None or not part.is_read_again):
            source.close()
        destination.close()
    return result


def _evolve(plan: Plan, destination: Destination, options: Options) -> None:
    """Add and widen columns of the published table, so that it can hold the staged rows."""
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


def _read(entry: TableResult, source: Source) -> Iterator[Block]:
    """The rows of a table, and at their end the source's own count; in the thread that reads."""
    table, scope = entry.plan.source_table, entry.plan.scope
    if not entry.plan.reads_nothing:
        yield from source.read(table, scope, entry.issues)
    entry.counted, entry.digests = source.count(table, scope), scope.digests


def _stage(
    entry: TableResult,
    reading: Prefetch,
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

    blocks, source_table = counted(reading.next_table()), entry.plan.source_table
    entry.is_new = options.full_refresh or destination.columns(table.raw_name) is None
    try:
        if entry.plan.reads_nothing:
            for _ in blocks:
                pass
            check_count(source_table, entry.counted, _rows_at_source(entry))
            entry.changes = Changes(live=_rows_at_source(entry))
            return
        destination.create_staging(table, stamp)
        with ThreadPoolExecutor(max_workers=1) as aside:
            ready = fitting(
                prepared(blocks, source_table, entry.issues, source, destination, options),
                source_table,
                options.required.tables.get(table.raw_name, {}),
                source,
            )
            # Chunk by chunk, so that the source goes on while the warehouse reads back.
            comparing: Future[None] | None = None
            for chunk in chunks(ready) if destination.stages_in_chunks else [ready]:
                sent = destination.stage(table, chunk)
                if comparing is not None:
                    comparing.result()
                destination.free_memory()
                comparing = aside.submit(_compare, table, sent, destination)
                if not destination.can_read_back_in_parallel:
                    comparing.result()
            if comparing is not None:
                comparing.result()
        if table.key:
            entry.key_fault = destination.key_fault(table, Rows.STAGED)
        check_count(source_table, entry.counted, _rows_at_source(entry))
        check_keys(entry)
    except LoadError as error:
        entry.status, entry.error = "failed", str(error)
        raise
    finally:
        entry.seconds += time.monotonic() - started
    for column in table.columns:
        if column.note:
            entry.issues.add(column, column.note, None, entry.rows_read)
    entry.status = "staged"


def check_count(table: Table, counted: int, rows: int) -> None:
    """Raise where the source's own count is another one than that of the rows it returned."""
    if counted != rows:
        raise LoadError(
            f"The source table {table.name} returned {rows} rows, but its count(*) is {counted}:"
            " nothing was published. Check it at the source: a damaged index, an engine without"
            " snapshots, or a view that is different each time. Or leave it out with --exclude."
        )


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
    ready = without_losses(
        blocks,
        issues,
        stores_nul=destination.stores_nul,
        marks_infinity=source.marks_infinity,
        longest=destination.longest,
    )
    secret = [n for n, c in enumerate(table.columns) if c.hashed]
    return hashed(ready, secret, options.hash_salt or "") if secret else ready


def _publish(
    entry: TableResult,
    destination: Destination,
    stamp: Stamp,
    options: Options,
    result: LoadResult,
    live: int | None,
) -> None:
    started = time.monotonic()
    plan, name = entry.plan, entry.table.raw_name
    keyed = bool(entry.table.key)
    try:
        if not plan.reads_nothing:
            _evolve(plan, destination, options)
            keyed = has_key(entry, destination, options, result.warnings)
            entry.changes = destination.publish(
                entry.table, stamp, keyed=keyed, within=plan.within, live=live
            )
            held = destination.columns(name) or {}
            for unknown, kind in entry.table.unknown:
                if unknown not in held:
                    destination.evolve(name, [Column(unknown, unknown, "unknown", kind)], {})
        entry.keyed = keyed
        changes = entry.changes
        expected = _expected_rows(entry)
        if expected is not None and changes.live != expected:
            raise LoadError(
                f"The table {name} has {changes.live} live rows after the load, but the source has"
                f" {expected}: nothing was published. If somebody else wrote into it, load it again"
                " with --mode full."
            )
        before = changes.live + changes.deleted - changes.inserted
        # Without a key a changed row looks like one that is gone and one that is new.
        gone = changes.deleted if keyed else max(0, before - changes.live)
        if gone - entry.told_gone > before * options.max_delete_share:
            if entry.rekeyed:
                raise LoadError(
                    f"No row of {name} can be found again, because {entry.rekeyed}. Nothing was"
                    " published."
                )
            raise LoadError(
                f"{gone} of {before} rows of {name} are gone from the source, more than"
                f" --max-delete-share {options.max_delete_share:g} allows: nothing was published."
                " If that is right, allow a larger share."
            )
        if plan.keys is not None:
            destination.forget_digests(name, plan.keys)
        else:
            destination.save_state(name, plan.before, plan.state(entry.digests) if keyed else None)
    except LoadError as error:
        entry.status, entry.error = "failed", str(error)
        raise
    finally:
        entry.seconds += time.monotonic() - started
    entry.status = "succeeded"


def _rows_at_source(entry: TableResult) -> int:
    """How many rows the source returned, or digested."""
    if entry.plan.mode == "diff":
        return sum(digest.rows for digest in entry.plan.now.values())
    return entry.rows_read


def _expected_rows(entry: TableResult) -> int | None:
    """How many live rows the table must have now, or None where only some rows were read."""
    plan = entry.plan
    return None if plan.after is not None or plan.keys is not None else _rows_at_source(entry)


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


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _batch_id(moment: datetime) -> str:
    """Its order is that of the loads: "the newest load" is asked of it in many places."""
    return moment.strftime("%Y%m%dT%H%M%S%fZ_") + secrets.token_hex(2)
