"""What a run did: for the caller, and as rows of the audit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from .audit import Record
from .destinations import Changes, KeyFault
from .drift import SchemaChange
from .plan import Plan
from .ranges import Digests
from .schema import Table
from .wire import Issues


@dataclass
class TableResult:
    """What a run did to one table; `seconds` are wall time, `bytes_read` are bytes of wire text."""

    plan: Plan
    issues: Issues
    status: str = "pending"
    rows_read: int = 0
    bytes_read: int = 0
    seconds: float = 0.0
    changes: Changes = field(default_factory=Changes)
    error: str | None = None
    # The warehouse has no rows of the table that stay.
    is_new: bool = False
    # Why the key of the staged rows is not one.
    key_fault: KeyFault | None = None
    # Its rows were matched by its key.
    keyed: bool = False
    # Why its rows could not be found again by its key, where that is a new one.
    rekeyed: str = ""
    # How many of its rows a log told to be gone, where it did not tell of all that happened.
    told_gone: int = 0
    # What the source gave while it was read: digests, and at the end its own count of rows.
    digests: Digests = field(default_factory=Digests)
    counted: int = 0

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
    # When the last run before it began, as the warehouse records it.
    follows: datetime | None = None
    tables: list[TableResult] = field(default_factory=list)
    schema_changes: list[SchemaChange] = field(default_factory=list)
    # Raw tables that the source no longer has.
    gone: list[str] = field(default_factory=list)
    # Whether an earlier run saw the source; if not, its changes are not worth printing.
    known_before: bool = False
    # What a person should know although the load succeeded.
    warnings: list[str] = field(default_factory=list)
    # What the source has and the load did not take: name -> reason.
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def issue_count(self) -> int:
        """Values that could not be loaded exactly, in all tables."""
        return sum(issue.count for table in self.tables for issue in table.issues.found.values())


def left_out_lines(left_out: Mapping[str, str]) -> list[str]:
    """What is not loaded: a line for each reason, with the names that it holds for."""
    names: dict[str, list[str]] = {}
    for name, why in left_out.items():
        names.setdefault(why, []).append(name)
    return [f"left out: {', '.join(held)} ({why})" for why, held in names.items()]


def audit_records(result: LoadResult, status: str, error: str | None) -> list[Record]:
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
    records.extend(
        Record(
            "_load_tables",
            {
                "batch_id": result.batch_id,
                "table_name": name,
                "status": "gone",
                "error": "The source has no such table, or its user may not see it.",
            },
        )
        for name in result.gone
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
                    # A failed run publishes nothing, even if this table was ready.
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
