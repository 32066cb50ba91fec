"""The loader's own tables in the raw schema: the audit of every run, and the state between runs."""

from dataclasses import dataclass

from .schema import BIGINT, DATE, INTEGER, TEXT, TIMESTAMP, Kind, Type

SECONDS = Type(Kind.DECIMAL, 12, 3)

# Table -> columns. All timestamps are UTC; a source is named without its password.
TABLES: dict[str, dict[str, Type]] = {
    "_load_runs": {
        "batch_id": TEXT,
        "source": TEXT,
        "target": TEXT,
        "started_at": TIMESTAMP,
        "finished_at": TIMESTAMP,
        "status": TEXT,
        "error": TEXT,
        "tables": INTEGER,
        "rows_read": BIGINT,
        "rows_inserted": BIGINT,
        "rows_updated": BIGINT,
        "rows_deleted": BIGINT,
        "issues": BIGINT,
    },
    "_load_tables": {
        "batch_id": TEXT,
        "table_name": TEXT,
        "source_table": TEXT,
        "mode": TEXT,
        "status": TEXT,
        "rows_read": BIGINT,
        "rows_inserted": BIGINT,
        "rows_updated": BIGINT,
        "rows_deleted": BIGINT,
        "rows_live": BIGINT,
        "bytes_read": BIGINT,
        "seconds": SECONDS,
        "error": TEXT,
    },
    "_load_issues": {
        "batch_id": TEXT,
        "table_name": TEXT,
        "column_name": TEXT,
        "reason": TEXT,
        "value_count": BIGINT,
        "sample_key": TEXT,
    },
    # Changes of the source's tables and columns; the first time that one is seen is a change too.
    "_load_schema_changes": {
        "batch_id": TEXT,
        "changed_at": TIMESTAMP,
        "table_name": TEXT,
        "column_name": TEXT,
        "change": TEXT,
        "declared_before": TEXT,
        "declared_after": TEXT,
    },
}

# What the next run compares with: one row per table, one per key range, and one per block of these.
STATE_TABLES: dict[str, dict[str, Type]] = {
    "_load_state": {"table_name": TEXT, "fingerprint": TEXT, "width": BIGINT},
    "_load_ranges": {"table_name": TEXT, "number": BIGINT, "row_count": BIGINT, "digest": TEXT},
    "_load_blocks": {"table_name": TEXT, "number": BIGINT, "row_count": BIGINT, "digest": TEXT},
}

# When a row was first committed at the source, where a watch heard that from a log. Models read it,
# so every load makes it. `row_key`: the value of the key's one column, as text.
COMMIT_TABLES: dict[str, dict[str, Type]] = {
    "_load_commits": {
        "table_name": TEXT,
        "row_key": TEXT,
        "committed_at": TIMESTAMP,
        "batch_id": TEXT,
    },
}

# How far a watcher has read the log of a source; one row, in the transaction of the rows.
POSITION_TABLES: dict[str, dict[str, Type]] = {
    "_load_position": {"source": TEXT, "position": TEXT, "saved_at": TIMESTAMP},
}

# What runs of all commands leave of themselves (history.py); models read them, so every load makes
# them. `row_count` of a run: rows that its load found new, changed or gone. `loaded_at` of a node
# is of sources only. `_run_days` has sums of the runs that were too old to be stored further.
RUN_TABLES: dict[str, dict[str, Type]] = {
    "_runs": {
        "run_id": TEXT,
        "command": TEXT,
        "code_version": TEXT,
        "host": TEXT,
        "process": BIGINT,
        "started_at": TIMESTAMP,
        "ended_at": TIMESTAMP,
        "seconds": SECONDS,
        "outcome": TEXT,
        "error": TEXT,
        "load_batch_id": TEXT,
        "row_count": BIGINT,
        "test_count": BIGINT,
    },
    "_run_nodes": {
        "run_id": TEXT,
        "node_name": TEXT,
        "node_kind": TEXT,
        "outcome": TEXT,
        "seconds": SECONDS,
        "row_count": BIGINT,
        "message": TEXT,
        "loaded_at": TIMESTAMP,
    },
    "_run_days": {
        "run_day": DATE,
        "command": TEXT,
        "outcome": TEXT,
        "run_count": BIGINT,
        "seconds": SECONDS,
    },
}


@dataclass(frozen=True)
class Record:
    """One row of an audit table; columns that are not named are null."""

    table: str
    values: dict[str, object]

    @property
    def row(self) -> list[object]:
        """The values in the table's column order."""
        return [self.values.get(column) for column in TABLES[self.table]]
