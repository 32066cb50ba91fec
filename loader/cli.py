"""Replicate an operational database into the warehouse's raw schema."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from . import LoadError, LoadResult, Options, UsageError, load
from .config import TARGETS, Config, find_config
from .destinations import Destination, open_destination
from .destinations.redshift.settings import driver_parameters
from .drift import TABLE_DROPPED, summed_up
from .errors import BusyError
from .history import History, recorded
from .lock import BUSY
from .options import MODES, POLICIES
from .plan import refuse_unfit
from .progress import Bar, Lines, Progress
from .required import read_required
from .result import left_out_lines
from .run import Preview, plan_load
from .urls import with_password
from .verify import Verdict, verify

COMMAND = "python -m loader"
DONE, FAILED, USAGE, DONE_WITH_ISSUES = 0, 1, 2, 3
# Key ranges that a comparison lists; further ones are only counted.
MOST_RANGES = 20

EPILOG = """\
sources
  sqlite:///shop.sqlite                         a file (four slashes for an absolute path)
  mysql://user:password@host:3306/classicmodels MySQL and MariaDB; mariadb:// is the same
  postgresql://user:password@host/db?schema=s   PostgreSQL; the schema is public unless named
  file:///dumps                                 a folder or glob of CSV, JSON Lines, Parquet files
  Percent-encode special characters of a password: @ is %40, / is %2F, : is %3A, # is %23; or leave
  the password out and set SOURCE_PASSWORD. For TLS add ?tls=on or ?ssl_ca=FILE (MySQL), or
  ?sslmode=verify-full&sslrootcert=FILE (PostgreSQL).

targets
  duckdb    the file that --duckdb-path or DUCKDB_PATH names (warehouse.duckdb)
  postgres  what PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE say, as for psql
  redshift  what REDSHIFT_HOST, REDSHIFT_USER and others say (docs/redshift.md); rows travel through
            REDSHIFT_S3_STAGING=s3://bucket/prefix, or slowly without

All tables are read in one snapshot of the source, compared with what the warehouse holds, and
become visible together. A row that did not change keeps its _loaded_at; a row that is gone from
the source stays, with _deleted_at set. Each run is recorded in the tables _load_runs, _load_tables
and _load_issues.

exit codes
  0 done               1 failed, nothing changed
  2 wrong usage        3 done, but some values could not be loaded exactly
  75 another run is writing into the warehouse: WAIT=600 waits up to 600 seconds for it

examples
  python -m loader --source sqlite:///shop.sqlite --target duckdb
  SOURCE=mysql://reader:secret@shop.example/classicmodels python -m loader
  python -m loader --source postgresql://reader@shop.example/shop --select 'order*,customers'
  python -m loader watch --help                 follow a source second by second
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one load from the command line, or a watch; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] == "watch":
        from .watch.cli import main as watch

        return watch(arguments[1:])
    given = _parser().parse_args(arguments)
    say = _say_json if given.log_format == "json" else _say
    try:
        config = find_config(given.config)
        source = with_password(given.source or config.source or "")
        if not source:
            raise UsageError("No source: give --source URL, or set SOURCE in the environment.")
        options = options_of(given, config.options)
        warehouse = destination_of(given, config)
        as_json = given.log_format == "json"
        if given.plan:
            preview = plan_load(source, warehouse, options)
            _warn(preview.warnings, say)
            return _show_plan(preview, as_json=as_json)
        progress: Progress = Lines(say)
        if not as_json and sys.stderr.isatty():
            progress = Bar()
        if given.verify_only:
            verdicts, warnings, left_out = verify(source, warehouse, options, progress=progress)
            _warn(warnings, say)
            return _show_verdicts(verdicts, left_out, as_json=as_json)

        def tell(text: str) -> None:
            say(f"load: {text}", "info")

        history = History(warehouse, tell, config.keep_runs)
        with warehouse.alone(COMMAND, tell), recorded(history, COMMAND) as run:
            result = load(source, warehouse, options, progress=progress)
            run.of_load(result)
    except BusyError as error:
        say(f"load: {error}", "error")
        return BUSY
    except UsageError as error:
        say(f"load: {error}", "error")
        return USAGE
    except LoadError as error:
        say(f"load: {error}", "error")
        return FAILED
    except KeyboardInterrupt:
        say("load: interrupted; nothing was published.", "error")
        return FAILED
    if as_json:
        _log_result(result)
    else:
        print(summary(result))
    return DONE_WITH_ISSUES if result.issue_count else DONE


def _show_plan(preview: Preview, *, as_json: bool) -> int:
    plans = preview.plans
    rows: list[tuple[str, ...]] = [("table", "mode", "rows", "why")]
    types = []
    for plan in plans:
        name, expected = plan.table.raw_name, plan.expected_rows
        columns = {column.raw_name: str(column.type) for column in plan.table.columns}
        line = {"table": name, "mode": plan.mode, "rows": expected, "why": plan.reason}
        if as_json:
            changes = [str(change) for change in preview.changes if change.table == name]
            print(json.dumps(line | {"columns": columns, "changes": changes}))
        rows.append((name, plan.mode, "?" if expected is None else f"{expected:,}", plan.reason))
        types.append(f"{name}: {', '.join(f'{column} {kind}' for column, kind in columns.items())}")
    for name in (change.table for change in preview.changes if change.change == TABLE_DROPPED):
        line = {"table": name, "mode": "gone", "rows": None, "why": "not in the source any more"}
        if as_json:
            print(json.dumps(line | {"columns": {}, "changes": [TABLE_DROPPED]}))
        rows.append((name, "gone", "?", "not in the source any more; its rows stay"))
    if as_json:
        for name, why in preview.left_out.items():
            print(json.dumps({"table": name, "mode": "left out", "rows": None, "why": why}))
    else:
        changed = [f"schema: {change}" for change in summed_up(preview.changes)]
        left_out = left_out_lines(preview.left_out)
        print(_table(rows, right=(2,)), "", *types, *changed, *left_out, sep="\n")
    refuse_unfit(plans)
    if preview.problem:
        raise LoadError(preview.problem)
    return DONE


def _show_verdicts(verdicts: list[Verdict], left_out: Mapping[str, str], *, as_json: bool) -> int:
    rows: list[tuple[str, ...]] = [("table", "source", "warehouse", "verdict")]
    different: list[str] = []
    for verdict in verdicts:
        name, differences = verdict.table.raw_name, verdict.differences
        here, there = verdict.source_rows, verdict.warehouse_rows
        if as_json:
            line = {"table": name, "source_rows": here, "warehouse_rows": there}
            print(json.dumps(line | {"equal": not differences, "differences": differences}))
        rows.append((name, f"{here:,}", f"{there:,}", "differs" if differences else "equal"))
        different.extend(f"{name} {text}" for text in differences)
    if as_json:
        for name, why in left_out.items():
            print(json.dumps({"table": name, "equal": None, "differences": [], "left_out": why}))
    else:
        lines = [*different[:MOST_RANGES], *left_out_lines(left_out)]
        print(_table(rows, right=(1, 2)), *lines, sep="\n")
        if len(different) > MOST_RANGES:
            print(f"... and {len(different) - MOST_RANGES} more")
    return FAILED if different else DONE


def summary(result: LoadResult) -> str:
    """What a run did, as a table and a line for each thing to know."""
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
    lines = [_table(rows, right=range(1, 7))]
    for entry in result.tables:
        for (column, reason), issue in entry.issues.found.items():
            at = f" (for example {issue.sample_key})" if issue.sample_key else ""
            lines.append(f"note: {entry.table.raw_name}.{column}: {issue.count:,} x {reason}{at}")
    lines.extend(left_out_lines(result.left_out))
    if result.known_before:
        lines.extend(f"schema: {change}" for change in summed_up(result.schema_changes))
    lines.extend(f"warning: {warning}" for warning in result.warnings)
    lines.append(f"{result.source} -> {result.target}, batch {result.batch_id}")
    return "\n".join(lines)


def _table(rows: list[tuple[str, ...]], right: Collection[int]) -> str:
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if n in right else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _say(text: str, _level: str = "info") -> None:
    print(text, file=sys.stderr, flush=True)


def _warn(warnings: list[str], say: Callable[[str, str], None]) -> None:
    for warning in warnings:
        say(f"warning: {warning}", "warning")


def _say_json(text: str, level: str = "info") -> None:
    moment = datetime.now(UTC).isoformat(timespec="milliseconds")
    message = text.removeprefix("load: ").removeprefix("warning: ")
    line = {"at": moment, "level": level, "message": message}
    print(json.dumps(line), file=sys.stderr, flush=True)


def _log_result(result: LoadResult) -> None:
    """One line of JSON for each table, and one for the run."""
    for entry in result.tables:
        counts = vars(entry.changes) | {"rows_read": entry.rows_read, "bytes": entry.bytes_read}
        issues = [
            {"column": column, "reason": reason} | vars(issue)
            for (column, reason), issue in entry.issues.found.items()
        ]
        line = {"table": entry.table.raw_name, "mode": entry.plan.mode, **counts}
        print(json.dumps(line | {"seconds": round(entry.seconds, 3), "issues": issues}))
    run: dict[str, Any] = {"batch_id": result.batch_id, "source": result.source}
    changes = [str(change) for change in result.schema_changes if result.known_before]
    run |= {"target": result.target, "schema_changes": changes, "warnings": result.warnings}
    print(json.dumps(run | {"left_out": result.left_out}))


def parser_of(program: str, description: str, epilog: str = "") -> argparse.ArgumentParser:
    """What every command asks: from where, to where, and which tables."""
    parser = argparse.ArgumentParser(
        prog=program,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    environment = os.environ
    add = parser.add_argument
    add("--source", metavar="URL", default=environment.get("SOURCE"), help="what to read [SOURCE]")
    add(
        "--target",
        choices=TARGETS,
        default=environment.get("TARGET"),
        help="the kind of warehouse to write [TARGET, or duckdb]",
    )
    add(
        "--duckdb-path",
        metavar="FILE",
        default=environment.get("DUCKDB_PATH") or "warehouse.duckdb",
        help="the DuckDB warehouse [DUCKDB_PATH, or warehouse.duckdb]",
    )
    add("--raw-schema", metavar="SCHEMA", help="where the tables go [raw_classicmodels]")
    add(
        "--config",
        metavar="FILE",
        help="team settings for the source [LOAD_CONFIG, or loader.yml if it exists]",
    )
    choice = parser.add_argument_group("what is loaded")
    add = choice.add_argument
    add(
        "--select",
        metavar="NAMES",
        action="append",
        help="only these tables or views, comma-separated; patterns as order*",
    )
    add("--exclude", metavar="NAMES", action="append", help="all but these tables, likewise")
    add(
        "--exclude-columns",
        metavar="NAMES",
        action="append",
        help="leave columns out: phone, or customers.phone; patterns too",
    )
    add(
        "--hash-columns",
        metavar="NAMES",
        action="append",
        help="replace values by a SHA-256 with the salt in LOAD_HASH_SALT; equal values stay equal",
    )
    add(
        "--require",
        metavar="PATHS",
        action="append",
        help="fail unless the source has what is declared here: models/ of a dbt project, a YAML"
        " file of dbt's sources, a table, or table.column",
    )
    parser.add_argument("--log-format", choices=("text", "json"), default="text")
    return parser


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("python -m loader", __doc__ or "", EPILOG)
    how = parser.add_argument_group("how it is loaded")
    add = how.add_argument
    add(
        "--mode",
        choices=MODES,
        help="full: read all; diff: ask the source for digests of key ranges and read what changed;"
        " append: read only what is above the newest key; auto: diff where it can [auto]",
    )
    add(
        "--policy",
        choices=POLICIES,
        help="when the source's tables change: evolve: add and widen columns, leave dropped ones as"
        " null; freeze: fail; ignore-new: leave new tables and columns out [evolve]",
    )
    add(
        "--max-delete-share",
        type=_share,
        metavar="SHARE",
        help="refuse to mark more than this share of a table's rows as deleted [0.5]",
    )
    add("--full-refresh", action="store_true", help="empty the raw tables and load all rows again")
    add("--strict", action="store_true", help="fail when a value cannot be loaded exactly")
    instead = parser.add_argument_group("instead of loading").add_mutually_exclusive_group()
    instead.add_argument(
        "--plan", action="store_true", help="say what would be read, and how; write nothing"
    )
    instead.add_argument(
        "--verify-only",
        action="store_true",
        help="compare source and warehouse as they are now; exit 1 when they differ",
    )
    return parser


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 1")
    return share


def _names(given: Sequence[str] | None) -> list[str]:
    return [name.strip() for part in given or () for name in part.split(",") if name.strip()]


def options_of(given: argparse.Namespace, config: Options) -> Options:
    """The options of the configuration, overridden by those of the command line."""
    # The command line also overrides the mode and policy that the file gives a single table.
    now = {name: value for name in ("mode", "policy") if (value := getattr(given, name))}
    if required := _names(given.require):
        config = replace(config, required=read_required(required, Path(), "--require"))
    return replace(
        config,
        select=_names(given.select) or config.select,
        exclude=_names(given.exclude) or config.exclude,
        exclude_columns=_names(given.exclude_columns) or config.exclude_columns,
        hash_columns=_names(given.hash_columns) or config.hash_columns,
        strict=given.strict or config.strict,
        full_refresh=given.full_refresh,
        max_delete_share=(
            config.max_delete_share if given.max_delete_share is None else given.max_delete_share
        ),
        default=replace(config.default, **now),
        tables={name: replace(options, **now) for name, options in config.tables.items()},
    )


def destination_of(given: argparse.Namespace, config: Config) -> Destination:
    """The warehouse that the command line, the environment and the configuration name."""
    schema = given.raw_schema or config.raw_schema or "raw_classicmodels"
    target = given.target or config.target or "duckdb"
    connection: dict[str, Any] = {}  # for PostgreSQL: the libpq variables say everything
    if target == "duckdb":
        connection = {"path": given.duckdb_path}
    elif target == "redshift":
        connection = driver_parameters(os.environ)
    return open_destination(target, schema, connection)


def run() -> NoReturn:
    """Run as a program. A reader that closes the pipe early, such as `head`, is not an error.

    The signal for it stays ignored: a server that ends a connection would end the program with it.
    """
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # At its end Python would write what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 128 + signal.SIGPIPE
    sys.exit(status)
