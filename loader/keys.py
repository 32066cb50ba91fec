"""Whether a load may match rows by a table's key.

A source's key can fail in the warehouse: the source does not enforce it (a parent table of
PostgreSQL with the rows of its children, nulls in SQLite), or values are equal after conversion.
"""

from .destinations import Destination, KeyFault, Rows
from .errors import LoadError
from .options import Options
from .result import TableResult


def has_key(
    entry: TableResult, destination: Destination, options: Options, warnings: list[str]
) -> bool:
    """Whether the key tells rows apart, the staged and the published ones; if not, it warns.

    Raises LoadError where rows were matched by a key that is not one any more.
    """
    table, fault = entry.table, entry.key_fault
    if not table.key:
        return False
    named, again = ", ".join(table.key), f"--full-refresh --select {table.name}"
    if fault is None:
        # What a diff compares with was published by this key; so were rows that a watcher reads.
        known = entry.is_new or entry.plan.mode in ("diff", "keys")
        fault = None if known else destination.key_fault(table, Rows.PUBLISHED)
        if fault is None:
            return True
        why = f"is a key at the source, but not in the warehouse{_shown(entry, fault)}"
        advice = f"; to match them by key again, run once with {again}"
    else:
        if _was_key(entry, destination):
            raise LoadError(
                f"{table.name}: the key {named} is not one any more{_shown(entry, fault)}: nothing"
                " was published, because rows are matched by it. Correct these rows at the source;"
                f" or run once with {again}, and the table counts as one without a key."
            )
        why, advice = f"is not a key of the rows that were read{_shown(entry, fault)}", ""
    if entry.plan.after is not None and options.of(table.name).overlap:
        raise LoadError(
            f"{table.name}: {named} {why}: nothing was published, because an overlap of --mode"
            " append would double rows. Leave the overlap out, or use --mode full."
        )
    warnings.append(
        f"{table.name}: {named} {why}; its rows are compared as a whole, so a changed row counts as"
        f" one deleted and one inserted{advice}."
    )
    return False


def _was_key(entry: TableResult, destination: Destination) -> bool:
    """Whether the published rows are matched by the key."""
    if entry.is_new:
        return False
    if entry.plan.mode in ("diff", "keys"):
        return True
    name = entry.table.raw_name
    return destination.live_rows(name) > 0 and destination.key_fault(entry.table, Rows.LIVE) is None


def _shown(entry: TableResult, fault: KeyFault) -> str:
    # A key that holds hashed values is not shown.
    sample = "" if entry.issues.hides_key else f", for example {fault.sample}"
    return f" ({fault.rows:,} rows share it or have a null in it{sample})"
