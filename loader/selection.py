"""Which tables and columns a load takes, by its options and policies."""

import fnmatch
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from .audit import COMMIT_TABLES, POSITION_TABLES, RUN_TABLES, STATE_TABLES, TABLES
from .destinations import Destination
from .drift import (
    SchemaChange,
    Schemas,
    dropped_tables,
    is_rekeyed,
    table_changes,
    without_new_columns,
)
from .errors import LoadError, UsageError
from .options import Options, column_matches
from .schema import METADATA_COLUMNS, TEXT, Table
from .sources import Source

# By raw name, what of a source is not loaded, and why where no option leaves it out.
Unread = Mapping[str, str]


def chosen_tables(
    source: Source, options: Options, destination: Destination, known: Schemas
) -> tuple[list[Table], list[SchemaChange], Unread]:
    """The tables that the options choose, as they will be read; those that are gone; all others."""
    chosen: set[str] = set()
    limit = destination.name_limit
    gone: list[SchemaChange] = []
    unread: dict[str, str] = {}

    def wanted(names: Mapping[str, str]) -> Collection[str]:
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
            for name, why in names.items()
            if (_any_matches(name, options.select, names) if options.select else not why)
            and not _any_matches(name, options.exclude, names)
        )
        raw_names = {name: _short(name.lower(), limit) for name in names}
        unread.update((raw_names[name], why) for name, why in names.items() if name not in chosen)
        if not options.select:
            source.left_out |= {
                name: why
                for name, why in names.items()
                if why and not _any_matches(name, options.exclude, names)
            }
            gone.extend(
                change
                for change in dropped_tables(set(raw_names.values()), known)
                if not _any_matches(change.table, options.exclude)
            )
        return chosen

    found = [_fitted(table, destination) for table in source.tables(wanted)]
    tables = [table for table in found if table.name in chosen]
    _refuse_hidden(source, options, gone)
    if not tables:
        left_out = "".join(f" It has {name}, {why}." for name, why in source.left_out.items())
        raise LoadError(
            f"The source {source.url} has no tables to load: check the database (and schema) in the"
            f" URL, and that its user may see them.{left_out}"
        )
    _refuse_unmatched(found, options, destination)
    tables = [_treated(table, options, known) for table in tables]
    if not options.full_refresh:
        tables = [
            source.in_held_types(table, destination.columns(table.raw_name) or {})
            for table in tables
        ]
    _refuse_unfit(tables)
    return tables, gone, unread


def follow_policies(
    tables: list[Table], options: Options, known: Schemas
) -> tuple[list[Table], list[SchemaChange]]:
    """The tables with the changes that their policies allow, and these changes."""
    left, changes = without_news(tables, options, known), []
    for table in left:
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
    return left, changes


def without_news(tables: list[Table], options: Options, known: Schemas) -> list[Table]:
    """The tables without the new ones, and the new columns, of those with the policy ignore-new."""
    return [
        without_new_columns(table, known) if ignores else table
        for table in tables
        for ignores in [options.of(table.name).policy == "ignore-new"]
        if not (ignores and known and not known.get(table.raw_name))
    ]


def _refuse_hidden(source: Source, options: Options, gone: Sequence[SchemaChange]) -> None:
    """Raise for what was asked for by name and cannot be read, and for tables that may be hidden.

    A table that its user may not see any more must not be taken for dropped.
    """
    asked = {name.lower() for name in options.select}
    for name, why in source.left_out.items():
        if name.lower() in asked:
            raise LoadError(f"{name} of the source {source.url} cannot be loaded: it is {why}.")
    for change in gone:
        hidden = source.why_hidden(change.table) if change.column is None else None
        if hidden:
            raise LoadError(
                f"The table {change.table} was loaded before, and the source does not show it any"
                f" more: {hidden}. If it was dropped, leave it out with --exclude {change.table}."
            )


def _refuse_unmatched(found: list[Table], options: Options, destination: Destination) -> None:
    """Raise for a pattern that matches no column: personal data might arrive."""

    def means(pattern: str, table: Table) -> bool:
        if any(column_matches((pattern,), table.name, c.name) for c in table.columns):
            return True
        of_table, dot, _ = pattern.partition(".")
        if not table.columns and dot and _matches(table.name, of_table):
            # A file that was not chosen is not read, so its columns are not known.
            return True
        # The pattern may name a column that the user may not read.
        held = (destination.columns(table.raw_name) or {}) if table.shows_part else {}
        return any(column_matches((pattern,), table.name, name) for name in held)

    for option, patterns in (
        ("--exclude-columns", options.exclude_columns),
        ("--hash-columns", options.hash_columns),
    ):
        for pattern in patterns:
            if not any(means(pattern, table) for table in found):
                raise UsageError(
                    f"{option} {pattern}: no table of the source has such a column (any more): use"
                    " its present name, or remove the pattern."
                )
    if options.hash_columns and not options.hash_salt:
        raise UsageError("--hash-columns needs a salt: set LOAD_HASH_SALT in the environment.")


def _treated(table: Table, options: Options, known: Schemas) -> Table:
    """The table without its excluded columns, and with the hashed ones marked.

    Raises UsageError where the key would no longer match the rows in the warehouse.
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
    """Raise for names that clash in the warehouse, or that the loader uses itself."""
    _refuse_clashes("tables", [(table.name, table.raw_name) for table in tables], "the source")
    for table in tables:
        if not table.columns:
            raise LoadError(f"The source table {table.name} has no columns: exclude it.")
        if table.raw_name in TABLES | STATE_TABLES | COMMIT_TABLES | POSITION_TABLES | RUN_TABLES:
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
    """Whether a pattern matches a table, in any case; an exact name matches only itself."""
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
    """A name that is too long for the destination, cut, with a short digest at its end."""
    encoded = name.encode()
    if limit is None or len(encoded) <= limit:
        return name
    digest = hashlib.sha256(encoded).hexdigest()[:8]
    return encoded[: limit - 9].decode("utf-8", "ignore") + "_" + digest


def _fitted(table: Table, destination: Destination) -> Table:
    """The table with names and types that the destination supports."""
    limit, largest = destination.name_limit, destination.largest_scale
    columns = tuple(
        replace(
            column,
            raw_name=_short(column.raw_name, limit),
            type=TEXT if column.type.scale > largest else column.type,
            note=f"{column.declared} loaded as text: more than {largest} digits after the point"
            if column.type.scale > largest
            else column.note,
        )
        for column in table.columns
    )
    return replace(table, raw_name=_short(table.raw_name, limit), columns=columns)
