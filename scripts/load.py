"""Replicate an operational database into the warehouse's raw schema."""

import argparse
import os
import sys
from collections.abc import Sequence

from loader import (
    DuckDBDestination,
    LoadError,
    LoadResult,
    Options,
    PostgresDestination,
    TableOptions,
    UsageError,
    load,
)
from loader.destinations import Destination
from loader.options import MODES
from loader.progress import Bar, Lines

DONE, FAILED, USAGE, DONE_WITH_ISSUES = 0, 1, 2, 3

EPILOG = """\
sources
  sqlite:///shop.sqlite                         a file (four slashes for an absolute path)
  mysql://user:password@host:3306/classicmodels MySQL and MariaDB; mariadb:// is the same
  postgresql://user:password@host/db?schema=s   PostgreSQL; the schema is public unless named
  Percent-encode special characters of a password: @ is %40, / is %2F, : is %3A, # is %23.

targets
  duckdb    the file that --duckdb-path or DUCKDB_PATH names (warehouse.duckdb)
  postgres  what PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE say, as for psql

All tables are read in one snapshot of the source, compared with what the warehouse holds, and
become visible together. A row that did not change keeps its _loaded_at; a row that is gone from
the source stays, with _deleted_at set. Each run leaves its account in the tables _load_runs,
_load_tables and _load_issues.

exit codes
  0 done               1 failed, nothing changed
  2 wrong usage        3 done, but some values could not be kept exactly

examples
  python scripts/load.py --source sqlite:///shop.sqlite --target duckdb
  SOURCE=mysql://reader:secret@shop.example/classicmodels python scripts/load.py
  python scripts/load.py --source postgresql://reader@shop.example/shop --select 'order*,customers'
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one load from the command line; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        if not options.source:
            raise UsageError("No source: give --source URL, or set SOURCE in the environment.")
        result = load(
            options.source,
            _destination(options),
            _choices(options),
            progress=Bar() if sys.stderr.isatty() else Lines(sys.stderr),
        )
    except UsageError as error:
        print(f"load: {error}", file=sys.stderr)
        return USAGE
    except LoadError as error:
        print(f"load: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("load: interrupted; nothing was published.", file=sys.stderr)
        return FAILED
    print(summary(result))
    return DONE_WITH_ISSUES if result.issue_count else DONE


def summary(result: LoadResult) -> str:
    """What a run did, as a table and a sentence for each thing to know."""
    rows: list[tuple[str, ...]] = [
        ("table", "read", "inserted", "updated", "deleted", "MB", "seconds")
    ]
    for entry in result.tables:
        counts = (
            entry.rows_read,
            entry.changes.inserted,
            entry.changes.updated,
            entry.changes.deleted,
        )
        rows.append(
            (
                entry.table.raw_name,
                *(f"{count:,}" for count in counts),
                f"{entry.bytes_read / 1e6:.1f}",
                f"{entry.seconds:.2f}",
            )
        )
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    lines = [
        row[0].ljust(widths[0])
        + "".join("  " + cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]
    for entry in result.tables:
        for (column, reason), issue in entry.issues.found.items():
            at = f" (for example {issue.sample_key})" if issue.sample_key else ""
            lines.append(f"note: {entry.table.raw_name}.{column}: {issue.count:,} x {reason}{at}")
    lines.append(f"{result.source} -> {result.target}, batch {result.batch_id}")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="load.py",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    environment = os.environ
    parser.add_argument(
        "--source", metavar="URL", default=environment.get("SOURCE"), help="what to read [SOURCE]"
    )
    parser.add_argument(
        "--target",
        choices=("duckdb", "postgres"),
        default=environment.get("TARGET") or "duckdb",
        help="the kind of warehouse to write [TARGET, or duckdb]",
    )
    parser.add_argument(
        "--duckdb-path",
        metavar="FILE",
        default=environment.get("DUCKDB_PATH") or "warehouse.duckdb",
        help="the DuckDB warehouse [DUCKDB_PATH, or warehouse.duckdb]",
    )
    parser.add_argument(
        "--raw-schema",
        metavar="SCHEMA",
        default="raw_classicmodels",
        help="where the tables go [raw_classicmodels]",
    )
    parser.add_argument(
        "--select",
        metavar="NAMES",
        action="append",
        help="only these tables or views, comma-separated; patterns as order*",
    )
    parser.add_argument(
        "--exclude", metavar="NAMES", action="append", help="all but these tables, likewise"
    )
    parser.add_argument(
        "--mode",
        choices=MODES,
        default="auto",
        help="full: read all; diff: ask the source for digests of key ranges and read what changed;"
        " append: read only what is above the newest key; auto: diff where it can [auto]",
    )
    parser.add_argument(
        "--max-delete-share",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="refuse to mark more than this share of a table's rows as deleted [0.5]",
    )
    parser.add_argument(
        "--strict", action="store_true", help="fail when a value cannot be kept exactly"
    )
    return parser


def _names(given: Sequence[str] | None) -> list[str]:
    return [name.strip() for part in given or () for name in part.split(",") if name.strip()]


def _choices(options: argparse.Namespace) -> Options:
    return Options(
        select=_names(options.select),
        exclude=_names(options.exclude),
        strict=options.strict,
        max_delete_share=options.max_delete_share,
        default=TableOptions(mode=options.mode),
    )


def _destination(options: argparse.Namespace) -> Destination:
    if options.target == "postgres":
        return PostgresDestination(options.raw_schema)
    return DuckDBDestination(options.raw_schema, options.duckdb_path)


if __name__ == "__main__":
    sys.exit(main())
