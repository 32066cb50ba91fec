"""The first part of a build: it makes or finds the shop, and loads it into the warehouse."""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from pathlib import Path
from urllib.parse import quote

from loader import LoadResult, Options, load
from loader.drift import summed_up
from loader.progress import Lines, Progress, Silent
from loader.required import read_required
from loader.result import left_out_lines
from loader.sources import MODULES, open_source
from loader.urls import SourceUrl, parse_url
from pipeline.project import PROJECT, is_set, raw_schema
from pipeline.steps import LoadProgress, Steps
from pipeline.warehouse import Warehouse
from sample_shop.shop import create_shop

SAMPLE = PROJECT / "shop.sqlite"
SAMPLE_URL = f"sqlite:///{SAMPLE.name}"
# Default ports by source module; the other sources are files.
PORTS = {"mysql": 3306, "postgres": 5432}


class OtherShopError(RuntimeError):
    """The warehouse holds another shop; the text says what to do."""


def make_sample(steps: Steps) -> None:
    """Make the sample shop unless it exists. Raises ShopError."""
    if SAMPLE.exists():
        return
    with steps.step("sample shop") as notes:
        fresh = SAMPLE.with_name(f"{SAMPLE.name}.{os.getpid()}.tmp")
        try:
            rows = create_shop(f"sqlite:///{quote(str(fresh))}")
            fresh.rename(SAMPLE)
        finally:
            fresh.unlink(missing_ok=True)
        notes.append(f"{SAMPLE.name}: {sum(rows.values()):,} rows in {len(rows)} tables")


def refuse_other_shop(warehouse: Warehouse, url: str, *, sample: bool) -> None:
    """Raise OtherShopError when the last load of the warehouse came from another shop.

    Raises LoadError when the shop cannot be reached.

    To load one shop over another would mark nearly every row as deleted. A plain `make build` after
    `make build SOURCE=...` would replace a real shop by the sample.
    """
    now, before = parse_url(url), last_source(warehouse)
    if before is None or is_set("ALLOW_OTHER_SOURCE"):
        return
    # The loader refuses an unknown scheme, and names the known ones.
    if now.scheme not in MODULES or place_of(parse_url(before)) == place_of(now):
        return
    # What cannot be reached is rather mistyped than another shop.
    if not sample or SAMPLE.exists():
        open_source(url).close()
    remedies = [f"take another {warehouse.variable}"]
    if sample:
        remedies.insert(0, "give SOURCE again")
    elif before != SAMPLE_URL:
        remedies.append("set ALLOW_OTHER_SOURCE=1 if the same shop has moved")
    elif warehouse.is_made_here:
        remedies.append("make clean first")
    raise OtherShopError(
        f"The warehouse {warehouse.place} holds another shop, {before}, not {now}:"
        f" {', or '.join(remedies)}."
    )


def place_of(source: SourceUrl) -> tuple[str, ...]:
    """What identifies a shop: kind, server and database, or the path of its files."""
    kind = MODULES.get(source.scheme, source.scheme)
    if kind not in PORTS:
        return kind, str(Path(source.database).resolve())
    host = "localhost" if source.host in ("", "127.0.0.1", "::1") else source.host
    return kind, host, str(source.port or PORTS[kind]), source.database


def last_source(warehouse: Warehouse) -> str | None:
    """The source of the warehouse's last load, its password hidden; None when it is not known."""
    rows = warehouse.ask(
        f"select source from {raw_schema()}._load_runs where status = 'succeeded'"
        " order by started_at desc limit 1"
    )
    # Without an answer, nothing was loaded yet, or the loader will say why it cannot open it.
    return str(rows[0][0]) if rows else None


def load_shop(steps: Steps, warehouse: Warehouse, url: str, options: Options) -> LoadResult:
    """Load the shop into the warehouse; returns what that did.

    Raises LoadError, also where the models need more.
    """
    schema = raw_schema()
    needed = read_required(["models"], PROJECT, "make build")
    tables = {**options.required.tables, **needed.tables}
    options = dataclasses.replace(options, required=dataclasses.replace(needed, tables=tables))
    destination = warehouse.destination(schema)
    with steps.step("load") as notes:
        in_a_log = Lines(functools.partial(print, file=sys.stderr))
        progress: Progress = LoadProgress(steps) if steps.terminal else in_a_log
        if steps.output.is_quiet:
            progress = Silent()
        result = load(url, destination, options, progress=progress)
        written = [entry.changes for entry in result.tables]
        notes.append(
            f"{result.source}: {sum(entry.rows_read for entry in result.tables):,} rows in"
            f" {len(result.tables)} tables ({sum(c.inserted for c in written):,} new,"
            f" {sum(c.updated for c in written):,} changed,"
            f" {sum(c.deleted for c in written):,} gone)"
        )
        notes += left_out_lines(result.left_out)
        if result.known_before:
            changes = summed_up(result.schema_changes)
            notes += [f"WARNING: the source has changed: {change}" for change in changes]
        notes += [f"WARNING: {warning}" for warning in result.warnings]
        if result.issue_count:
            notes.append(
                f"WARNING: {result.issue_count:,} values could not be stored exactly:"
                f" {schema}._load_issues lists them"
            )
    return result
