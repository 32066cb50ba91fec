"""Measure load and build from the shop to the marts at growing sizes, beside plain SQL.

    python -m tools.benchmark [--scales 1 10 100] [--targets duckdb] [--runs 1]

For each scale it makes a sample shop in a private PostgreSQL, loads it, and builds a copy of the
project as `make build` does after its load, each in its own process. It builds three times: into a
warehouse without models, after one order in a thousand has changed, and after no change. Then it
runs, into a warehouse without models, `dbt build` without tests, and the SQL that dbt compiled for
the models as plain statements, one after the other, without dbt and tests; snapshots are only
filled for the first time. PostgreSQL as the warehouse is measured up to scale 1,000. At
the end it prints the aims, the growth between scales, and the slowest nodes. Other work on the
machine spoils the seconds, and less so the ratios.

Default: all scales, both warehouses; half an hour or more, 15 GB of disk in the temporary folder.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
import os
import shutil
import statistics
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import psycopg

from sample_shop.cli import shown_progress
from sample_shop.shop import create_shop
from tools.measuring import CommandError, Cost, measure
from tools.servers import PostgresServer, ServerError

PROJECT = Path(__file__).resolve().parents[1]
SCALES = (1, 10, 100, 1_000, 10_000)
POSTGRES_UP_TO = 1_000
# Bytes for the shop, its warehouse, a copy of the warehouse and temporary files, with a margin.
DISK_PER_SCALE = 1_500_000
# One order in a thousand, spread over the table; each run changes others.
CHANGED = 'mod("orderNumber", 1000) = {}'
RAW = "raw_classicmodels"
# What a build does not read.
LEFT_OUT = (".*", "target", "logs", "profiles.yml", "*.duckdb*", "*.sqlite*", "python")


# -- what is measured ------------------------------------------------------------------------------


@dataclass
class Build:
    """One build: its cost, the seconds of its `dbt build`, and those that dbt counted for nodes."""

    cost: Cost
    dbt: float
    nodes: Mapping[str, float]

    def seconds(self, *kinds: str) -> float:
        """The sum over the nodes of some kinds; nodes run in parallel, so it can exceed `cost`."""
        return sum(s for name, s in self.nodes.items() if name.split(".")[0] in kinds)

    def slowest(self, count: int) -> list[tuple[str, float]]:
        """Kind, name and seconds of the slowest nodes."""
        found = sorted(self.nodes.items(), key=lambda node: -node[1])[:count]
        return [(" ".join(node.split(".")[::2][:2]), seconds) for node, seconds in found]


@dataclass
class Result:
    """The result for one warehouse at one scale. Times are seconds, `size` is bytes."""

    scale: int
    rows: int
    lines: int
    load: Cost
    load_changed: Cost
    load_unchanged: Cost
    full: Build
    changed: Build
    unchanged: Build
    models: Build
    plain: float
    parse: float
    size: int

    @property
    def tests(self) -> float:
        """What tests add to `dbt build`, as a share of its time without them."""
        return self.full.dbt / self.models.dbt - 1


# -- the warehouses --------------------------------------------------------------------------------


class Warehouse(ABC):
    """Where the shop is loaded; `environment` names it for the loader and dbt."""

    target: str
    environment: Mapping[str, str]

    @abstractmethod
    def wipe(self) -> None:
        """Remove everything but the raw schema."""

    @abstractmethod
    def size(self) -> int:
        """Bytes on disk."""

    @abstractmethod
    def run(self, statements: Sequence[str]) -> None:
        """Execute statements one by one on one connection, each committed."""


class DuckDB(Warehouse):
    """A file in the folder of the benchmark."""

    target = "duckdb"

    def __init__(self, folder: Path) -> None:
        self.path = folder / "warehouse.duckdb"
        self.path.unlink(missing_ok=True)
        self.environment = {"TARGET": self.target, "DUCKDB_PATH": str(self.path)}

    def wipe(self) -> None:
        # Into a new file, because dropped tables leave their space in the old one.
        fresh = self.path.with_name("fresh.duckdb")
        with duckdb.connect() as connection:
            connection.execute(f"attach '{self.path}' as old (read_only)")
            connection.execute(f"attach '{fresh}' as new")
            connection.execute(f"create schema new.{RAW}")
            tables = connection.execute(
                "select table_name from duckdb_tables()"
                f" where database_name = 'old' and schema_name = '{RAW}'"
            ).fetchall()
            for (table,) in tables:
                connection.execute(f"create table new.{RAW}.{table} as from old.{RAW}.{table}")
        fresh.replace(self.path)

    def size(self) -> int:
        return self.path.stat().st_size

    def run(self, statements: Sequence[str]) -> None:
        with duckdb.connect(str(self.path)) as connection:
            connection.execute("set TimeZone = 'UTC'")
            for statement in statements:
                connection.execute(statement)


class Postgres(Warehouse):
    """A database of the private server."""

    target = "postgres"

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        server.execute("drop database if exists warehouse")
        self.url = server.create_database("warehouse")
        self.environment = {"TARGET": self.target, **server.environment("warehouse")}

    def wipe(self) -> None:
        schemas = self.server.execute(
            "select nspname from pg_namespace where nspname !~ '^pg_' and nspname not in"
            f" ('information_schema', 'public', '{RAW}')",
            "warehouse",
        )
        self.run([f'drop schema "{schema}" cascade' for (schema,) in schemas])

    def size(self) -> int:
        ((size,),) = self.server.execute("select pg_database_size('warehouse')")
        return int(size)

    def run(self, statements: Sequence[str]) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())


# -- the measuring ---------------------------------------------------------------------------------


@dataclass
class Bench:
    """The private server, the folder for everything else, and the number of runs."""

    server: PostgresServer
    folder: Path
    runs: int
    changes: int = field(default=0)

    def __post_init__(self) -> None:
        # A copy, so that nobody edits it meanwhile and the results of the last build stay.
        self.project = self.folder / "project"
        shutil.copytree(PROJECT, self.project, ignore=shutil.ignore_patterns(*LEFT_OUT))
        self.made = self.project / "target"
        measure([sys.executable, "scripts/build.py", "--prepare"], {}, self.project)

    def make_shop(self, scale: int) -> dict[str, int]:
        """Replace the shop by a sample shop of that size; returns its rows by table."""
        self.server.execute("drop database if exists shop")
        self.url = self.server.create_database("shop")
        with shown_progress() as progress:
            make = functools.partial(create_shop, self.url, scale=scale, progress=progress)
            rows: dict[str, int] = said(f"scale {scale:,}", "shop", make)
        self.server.execute("vacuum analyze", "shop")
        return rows

    def measure(self, scale: int, rows: Mapping[str, int], warehouse: Warehouse) -> Result:
        """Measure one warehouse at one scale."""
        step = functools.partial(said, f"{warehouse.target}, scale {scale:,}")
        load = step("first load", lambda: self.load(warehouse))
        step("dbt parse", lambda: self.dbt(warehouse, "parse"))
        full = step("full build", lambda: self.median(lambda: self.full(warehouse)))
        size = warehouse.size()
        parse = step("dbt parse, nothing edited", lambda: self.dbt(warehouse, "parse"))
        changes: list[tuple[Cost, Build]] = []
        for _ in range(self.runs):
            self.change()
            loaded = step("load of the changes", lambda: self.load(warehouse))
            built = step("build of the changes", lambda: self.build(warehouse))
            changes.append((loaded, built))
        loaded, changed = sorted(changes, key=lambda two: two[1].cost.wall)[(self.runs - 1) // 2]
        reloaded = step("load without a change", lambda: self.load(warehouse))
        unchanged = step("build without a change", lambda: self.build(warehouse))
        warehouse.wipe()
        untested = ("--exclude-resource-type", "test", "unit_test")
        models = step("dbt build, no tests", lambda: self.built(
            lambda: self.dbt(warehouse, "build", *untested)
        ))  # fmt: skip
        statements = self.statements()
        plain = statistics.median_low(
            step("plain SQL", lambda: self.plain(warehouse, statements)) for _ in range(self.runs)
        )
        return Result(
            scale, sum(rows.values()), rows["orderdetails"], load, loaded, reloaded,
            full, changed, unchanged, models, plain, parse.wall, size,
        )  # fmt: skip

    def load(self, warehouse: Warehouse) -> Cost:
        """Run the loader."""
        command = [sys.executable, "-m", "loader"]
        variables = {"SOURCE": self.url, **warehouse.environment}
        return measure(command, variables, self.folder)

    def dbt(self, warehouse: Warehouse, *arguments: str) -> Cost:
        """Run dbt on the warehouse."""
        command = [sys.executable, "-m", "dbt.cli.main", *arguments, "--no-use-colors"]
        return measure(command, warehouse.environment, self.project)

    def build(self, warehouse: Warehouse) -> Build:
        """What `make build` does after the load."""
        command = [sys.executable, "scripts/build.py", "--loaded"]
        return self.built(lambda: measure(command, warehouse.environment, self.project))

    def built(self, build: Callable[[], Cost]) -> Build:
        """A build, with what dbt wrote of it; one that has nothing to do does not start dbt."""
        results = self.made / "run_results.json"
        results.unlink(missing_ok=True)
        cost = build()
        ran = json.loads(results.read_text("utf-8")) if results.exists() else {}
        seconds = {node["unique_id"]: node["execution_time"] for node in ran.get("results", [])}
        return Build(cost, ran.get("elapsed_time", 0.0), seconds)

    def full(self, warehouse: Warehouse) -> Build:
        """A build in a warehouse that holds raw tables only."""
        warehouse.wipe()
        return self.build(warehouse)

    def median(self, build: Callable[[], Build]) -> Build:
        """The middle one of several builds."""
        built = sorted((build() for _ in range(self.runs)), key=lambda build: build.cost.wall)
        return built[(self.runs - 1) // 2]

    def change(self) -> None:
        """Change status, date and quantity of one order in a thousand at the source.

        Shipped on the day of the order, because later days may lie in the future.
        """
        which = CHANGED.format(self.changes)
        self.changes += 1
        self.server.execute(
            "update orders set status = case status when 'Shipped' then 'Disputed' else 'Shipped'"
            f' end, "shippedDate" = "orderDate" where {which};'
            'update orderdetails set "quantityOrdered" = "quantityOrdered" + 1'
            f' where "orderLineNumber" = 1 and {which}',
            "shop",
        )

    def statements(self) -> list[str]:
        """The SQL of a build into a new warehouse, in the order in which dbt ran it."""
        nodes = json.loads((self.made / "manifest.json").read_text("utf-8"))["nodes"]
        results = json.loads((self.made / "run_results.json").read_text("utf-8"))["results"]
        results.sort(key=lambda result: max(step["completed_at"] for step in result["timing"]))
        found = []
        for result in results:
            node = nodes.get(result["unique_id"], {"resource_type": "unit_test"})
            if node["resource_type"] == "snapshot":
                # The statement that dbt ran, because dbt adds columns to the select.
                (ran,) = (self.made / "run").rglob(f"{node['name']}.sql")
                found.append(ran.read_text("utf-8"))
            elif node["resource_type"] == "model":
                kind = "view" if node["config"]["materialized"] == "view" else "table"
                found.append(
                    f"create {kind} {result['relation_name']} as ({result['compiled_code']})"
                )
        return found

    def plain(self, warehouse: Warehouse, statements: Sequence[str]) -> float:
        """Seconds of the statements in a warehouse with only raw tables and seeds."""
        warehouse.wipe()
        nodes = json.loads((self.made / "manifest.json").read_text("utf-8"))["nodes"]
        schemas = {n["schema"] for n in nodes.values() if n["resource_type"] in KEPT}
        warehouse.run([f'create schema if not exists "{schema}"' for schema in sorted(schemas)])
        self.dbt(warehouse, "seed")
        began = time.monotonic()
        warehouse.run(statements)
        return time.monotonic() - began


KEPT = ("model", "snapshot")


def said(where: str, what: str, do: Callable[[], Any]) -> Any:
    """Do something, and print what and how long it took."""
    began = time.monotonic()
    print(f"{where}: {what} ...", file=sys.stderr, end="", flush=True)
    result = do()
    print(f" {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
    return result


# -- the report ------------------------------------------------------------------------------------

ROWS: tuple[tuple[str, Callable[[Result], str]], ...] = (
    ("rows in 8 tables", lambda r: f"{r.rows:,}"),
    ("order lines", lambda r: f"{r.lines:,}"),
    ("first load, s", lambda r: f"{r.load.wall:.1f}"),
    ("full build, s", lambda r: f"{r.full.cost.wall:.1f}"),
    ("  of it dbt build", lambda r: f"{r.full.dbt:.1f}"),
    ("  nodes: models, snapshots, seed", lambda r: f"{r.full.seconds(*KEPT, 'seed'):.1f}"),
    ("  nodes: tests", lambda r: f"{r.full.seconds('test', 'unit_test'):.1f}"),
    ("  dbt starts and reads the project", lambda r: f"{r.parse:.1f}"),
    ("plain SQL of the models, s", lambda r: f"{r.plain:.1f}"),
    ("dbt build, no tests, s", lambda r: f"{r.models.cost.wall:.1f}"),
    ("dbt build, no tests / plain SQL", lambda r: f"{r.models.cost.wall / r.plain:.2f}"),
    ("tests add to dbt build, of that", lambda r: f"{r.tests:.2f}"),
    ("0.1 % changed: load, s", lambda r: f"{r.load_changed.wall:.1f}"),
    ("0.1 % changed: build, s", lambda r: f"{r.changed.cost.wall:.1f}"),
    ("  nodes: models, snapshots, seed", lambda r: f"{r.changed.seconds(*KEPT, 'seed'):.1f}"),
    ("  nodes: tests", lambda r: f"{r.changed.seconds('test', 'unit_test'):.1f}"),
    ("changed / full build", lambda r: f"{r.changed.cost.wall / r.full.cost.wall:.2f}"),
    ("no change: load, s", lambda r: f"{r.load_unchanged.wall:.1f}"),
    ("no change: build, s", lambda r: f"{r.unchanged.cost.wall:.1f}"),
    ("warehouse after full build, MB", lambda r: f"{r.size / 1e6:,.0f}"),
    ("peak memory of the load, MB", lambda r: f"{r.load.peak:,.0f}"),
    ("peak memory of dbt, full, MB", lambda r: f"{r.full.cost.peak:,.0f}"),
    ("peak memory of dbt, changed, MB", lambda r: f"{r.changed.cost.peak:,.0f}"),
)
GROWTH: tuple[tuple[str, Callable[[Result], float]], ...] = (
    ("first load", lambda r: r.load.wall),
    ("full build", lambda r: r.full.cost.wall),
    ("plain SQL", lambda r: r.plain),
    ("build of the changes", lambda r: r.changed.cost.wall),
)


def exponent(small: Result, large: Result, seconds: Callable[[Result], float]) -> float:
    """How time grows with rows: 1 is in proportion."""
    return math.log(seconds(large) / seconds(small)) / math.log(large.rows / small.rows)


def report(target: str, results: Sequence[Result]) -> None:
    """Print the results for one warehouse."""
    print(f"\n{target:<36}" + "".join(f"{f'scale {r.scale:,}':>14}" for r in results))
    for name, figure in ROWS:
        print(f"{name:<36}" + "".join(f"{figure(result):>14}" for result in results))
    if len(results) > 1:
        print("growth exponent since the scale before")
        for name, seconds in GROWTH:
            pairs = itertools.pairwise(results)
            grown = [f"{exponent(small, large, seconds):.2f}" for small, large in pairs]
            print(f"  {name:<34}{'':>14}" + "".join(f"{figure:>14}" for figure in grown))
    last = results[-1]
    for name, build in (("full build", last.full), ("build of the changes", last.changed)):
        print(f"\nslowest ten of the {name} at scale {last.scale:,}, s")
        for node, took in build.slowest(10):
            print(f"  {took:8.2f}  {node}")
    print()
    for before, after in zip([None, *results], results, strict=False):
        for aim, found, met in aims(target, before, after):
            print(f"{'met   ' if met else 'MISSED'}  scale {after.scale:,}: {aim}: {found}")


def aims(target: str, before: Result | None, result: Result) -> list[tuple[str, str, bool]]:
    """The aims for one scale: in words, the figure, and whether it is met."""
    found = []
    full, changed = result.full.cost, result.changed.cost
    unchanged, models = result.unchanged.cost.wall, result.models.cost.wall
    found = [("no change: build within 3 s", f"{unchanged:.1f} s", unchanged <= 3)]
    if result.scale == 1_000:
        most = 1.3 * result.plain + 6
        found += [
            (f"models, snapshots, seeds within 1.3 times plain SQL + 6 s = {most:.1f} s",
             f"{models:.1f} s", models <= most),
            ("tests add at most half of the time of dbt build without them",
             f"{result.tests:.2f}", result.tests <= 0.5),
            ("0.1 % changed costs at most 12 % of the full build",
             f"{changed.wall / full.wall:.0%}", changed.wall <= 0.12 * full.wall),
            ("peak memory of a full build at most 1,500 MB", f"{full.peak:,.0f} MB",
             full.peak <= 1_500),
            ("peak memory of a build of changes at most 1,000 MB", f"{changed.peak:,.0f} MB",
             changed.peak <= 1_000),
        ]  # fmt: skip
    if result.scale == 10_000:
        peak = max(full.peak, changed.peak)
        found += [
            ("0.1 % changed at least 10 times cheaper than full",
             f"{full.wall / changed.wall:.1f} times", changed.wall * 10 <= full.wall),
            ("peak memory under 4 GiB", f"{peak / 1024:.2f} GiB", peak < 4096),
        ]  # fmt: skip
    if before is not None and target == "duckdb":
        grown = exponent(before, result, lambda r: r.full.cost.wall)
        found.append(("growth exponent of the full build at most 1.05", f"{grown:.2f}",
                      grown <= 1.05))  # fmt: skip
    return found


def main() -> None:
    """Measure every scale and print the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scales", type=int, nargs="+", default=SCALES, metavar="N")
    parser.add_argument(
        "--targets", nargs="+", choices=("duckdb", "postgres"), default=("duckdb", "postgres")
    )
    parser.add_argument(
        "--runs", type=int, default=1, help="builds of each kind; the median counts"
    )
    options = parser.parse_args()
    scales = sorted(set(options.scales))
    if scales[0] < 1 or options.runs < 1:
        parser.error("scales and runs are whole numbers of at least 1")
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < (wanted := scales[-1] * DISK_PER_SCALE):
        raise SystemExit(
            f"benchmark: scale {scales[-1]:,} needs about {wanted / 1e9:.0f} GB, and"
            f" {tempfile.gettempdir()} has {free / 1e9:.0f} GB: leave the scale out with --scales,"
            " or set TMPDIR to a larger disk."
        )
    # No variable of the caller's shell may name another warehouse than the benchmark's.
    for name in [name for name in os.environ if name.startswith(("PG", "DBT_"))]:
        del os.environ[name]
    results: dict[str, list[Result]] = {target: [] for target in options.targets}
    try:
        with PostgresServer() as server, tempfile.TemporaryDirectory() as folder:
            bench = Bench(server, Path(folder), options.runs)
            for scale in scales:
                rows = bench.make_shop(scale)
                for target in options.targets:
                    if target == "postgres" and scale > POSTGRES_UP_TO:
                        continue
                    warehouse = DuckDB(Path(folder)) if target == "duckdb" else Postgres(server)
                    results[target].append(bench.measure(scale, rows, warehouse))
    except (ServerError, CommandError) as error:
        raise SystemExit(f"benchmark: {error}") from None
    for target, found in results.items():
        if found:
            report(target, found)


if __name__ == "__main__":
    main()
