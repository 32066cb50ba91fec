"""The dbt project as tests drive it: a copy of it, in this process, on warehouses of their own."""

from __future__ import annotations

import base64
import contextlib
import copy
import hashlib
import json
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner
from dbt.contracts.graph.semantic_manifest import SemanticManifest
from dbt_common.exceptions import DbtBaseException
from psycopg.types import TypeInfo
from psycopg.types.string import ByteaLoader

from loader import DuckDBDestination, LoadResult, Options, PostgresDestination, load
from loader.destinations import Destination
from loader.destinations.redshift.settings import driver_parameters, redshift_destination
from pages.lineage import write_lineage
from pipeline.dbt_packages import install_packages
from pipeline.dbt_runner import Node, nodes_of, speed_up
from support.clone import REPO, copy_project
from support.events import make_events_when_heard
from support.one_run import once
from support.shim import Shim, prepare
from tools.servers import HOST, PostgresServer

speed_up()
make_events_when_heard()

# What dbt remembers of a parsed project.
PARSED = "partial_parse.msgpack"
# Where a project is parsed for: not one of the tests' warehouses, because dbt parses all anew for
# another place. It connects to none of them.
PARSED_FOR = {
    "duckdb": {"DUCKDB_PATH": "parsed.duckdb"},
    "postgres": {"PGHOST": "nowhere", "PGPORT": "5432", "PGUSER": "u", "PGDATABASE": "parsed"},
    "redshift": {"REDSHIFT_HOST": "nowhere", "REDSHIFT_USER": "u", "REDSHIFT_DATABASE": "parsed"},
}
RAW_SCHEMA = "raw_classicmodels"
# How revenue comes from the shop: node and column, and where it goes.
REVENUE = {
    ("classicmodels.orderdetails", "priceeach", "stg_classicmodels__order_details", "price_each"),
    ("stg_classicmodels__order_details", "price_each", "fact_orders", "revenue_amount"),
    ("classicmodels.orders", "status", "stg_classicmodels__orders", "order_status"),
    ("stg_classicmodels__orders", "order_status", "int_orders_tracked", "is_cancelled"),
    ("int_orders_tracked", "is_cancelled", "fact_orders", "revenue_amount"),
    ("fact_orders", "revenue_amount", "sales_daily", "revenue_amount"),
    # Through a union, which not every parser follows.
    ("classicmodels.orders", "_loaded_at", "stg_classicmodels__tombstones", "_loaded_at"),
}
# Columns of the shop whose names in staging do not follow from theirs.
RENAMED = {
    "status": "order_status",
    "comments": "order_comments",
    "amount": "payment_amount",
    "reportsTo": "manager_employee_number",
    "MSRP": "msrp",
}


class Warehouse(ABC):
    """A database that the loader and dbt write to, and that can go back to what it was."""

    target: str  # the output of profiles.example.yml
    database: str  # what dbt calls the database

    @property
    @abstractmethod
    def variables(self) -> dict[str, str]:
        """The environment in which the profile leads here."""

    @abstractmethod
    def destination(self) -> Destination: ...

    @abstractmethod
    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run statements, with the raw schema as the default; return the rows of the last."""

    def asking(self) -> AbstractContextManager[None]:
        """Several queries that nothing is written between."""
        return contextlib.nullcontext()

    def query_all(self, statements: Sequence[str]) -> list[list[tuple[Any, ...]]]:
        """The rows of each statement."""
        with self.asking():
            return [self.query(statement) for statement in statements]

    @abstractmethod
    def counters(self) -> dict[str, Any]:
        """By table of the marts, what the database counts or stores anew when a row is written."""

    @abstractmethod
    def keep(self) -> None:
        """Remember the contents as they are now."""

    @abstractmethod
    def restore(self) -> None:
        """Go back to what `keep` remembered."""

    def load(self, source: str, exclude: Sequence[str] = ()) -> LoadResult:
        """Load the shop at a URL."""
        return load(source, self.destination(), Options(exclude=exclude))


class DuckDBWarehouse(Warehouse):
    """A DuckDB file."""

    target = "duckdb"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = path.stem
        self._kept = path.with_suffix(".kept")
        self._connection: duckdb.DuckDBPyConnection | None = None

    @property
    def variables(self) -> dict[str, str]:
        return {"DUCKDB_PATH": str(self.path)}

    def destination(self) -> Destination:
        return DuckDBDestination(RAW_SCHEMA, str(self.path))

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        # To open the file takes longer than to ask for a few rows.
        if self._connection:
            yield
            return
        with duckdb.connect(str(self.path)) as self._connection:
            try:
                self._connection.execute(f"set search_path = '{RAW_SCHEMA}'")
                yield
            finally:
                self._connection = None

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with self.asking():
            assert self._connection
            rows: list[tuple[Any, ...]] = self._connection.execute(sql).fetchall()
            return rows

    def counters(self) -> dict[str, Any]:
        # Each column's segments and the blocks they lie in, and the rows' own numbers.
        tables = self.query("select table_name from duckdb_tables() where schema_name = 'marts'")
        return {
            table: (
                self.query(f"select * from pragma_storage_info('marts.{table}')"),
                self.query(f"select count(*), min(rowid), max(rowid) from marts.{table}"),
            )
            for (table,) in tables
        }

    def keep(self) -> None:
        shutil.copyfile(self.path, self._kept)

    def restore(self) -> None:
        shutil.copyfile(self._kept, self.path)


class PostgresWarehouse(Warehouse):
    """A database of the tests' PostgreSQL server."""

    target = "postgres"

    def __init__(self, server: PostgresServer, database: str, template: str = "") -> None:
        self.server = server
        self.database = database
        if template:
            self._copy(template, database)
        else:
            server.create_database(database)

    @property
    def variables(self) -> dict[str, str]:
        return self.server.environment(self.database)

    def destination(self) -> Destination:
        options = psycopg.conninfo.conninfo_to_dict(self.server.url(self.database))
        return PostgresDestination(RAW_SCHEMA, **{k: str(v) for k, v in options.items()})

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.server.url(self.database)) as connection:
            # The shim's type for bytes, as bytes.
            if varbyte := TypeInfo.fetch(connection, "varbyte"):
                connection.adapters.register_loader(varbyte.oid, ByteaLoader)
            cursor = connection.execute(f"set search_path = {RAW_SCHEMA}")
            cursor.execute(sql.encode())
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []

    def counters(self) -> dict[str, Any]:
        rows = self.query(
            "select relname, relid, pg_relation_filenode(relid), n_tup_ins, n_tup_upd, n_tup_del"
            " from pg_stat_user_tables where schemaname = 'marts'"
        )
        return {str(name): figures for name, *figures in rows}

    def keep(self) -> None:
        self._copy(self.database, f"{self.database}_kept")

    def restore(self) -> None:
        self._copy(f"{self.database}_kept", self.database)

    def _copy(self, source: str, copy: str) -> None:
        self.server.execute(f"drop database if exists {copy} with (force)")
        self.server.execute(f"create database {copy} template {source} owner {self.server.user}")


class ShimWarehouse(PostgresWarehouse):
    """A database of the tests' PostgreSQL server that loader and dbt reach through the shim.

    Who compares goes to PostgreSQL itself.
    """

    target = "redshift"

    def __init__(
        self, shim: Shim, server: PostgresServer, database: str, template: str = ""
    ) -> None:
        super().__init__(server, database, template)
        if not template:
            prepare(server, database)
        self._shim = shim

    @property
    def variables(self) -> dict[str, str]:
        return {
            "REDSHIFT_HOST": HOST,
            "REDSHIFT_PORT": str(self._shim.port),
            "REDSHIFT_DATABASE": self.database,
            "REDSHIFT_USER": self.server.user,
            "REDSHIFT_PASSWORD": self.server.password,
            "REDSHIFT_SSLMODE": "disable",  # the shim has no certificate of Amazon's
        }

    def destination(self) -> Destination:
        return redshift_destination(RAW_SCHEMA, driver_parameters(self.variables))


def move(manifest: Any, database: str) -> None:
    """Let a parsed project be of another database, whose name dbt writes into it."""
    for node in [*manifest.nodes.values(), *manifest.sources.values()]:
        if node.relation_name:
            node.relation_name = node.relation_name.replace(f'"{node.database}".', f'"{database}".')
        node.database = database
    for model in manifest.semantic_models.values():
        place = model.node_relation
        place.relation_name = place.relation_name.replace(f'"{place.database}".', f'"{database}".')
        place.database = database
    manifest.build_flat_graph()  # what macros see of it


def answer(warehouse: Warehouse, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The names of the columns and the rows of a query, asked read-only where that is possible."""
    if isinstance(warehouse, DuckDBWarehouse):
        with duckdb.connect(str(warehouse.path), read_only=True) as connection:
            asked = connection.execute(sql)
            return [column[0] for column in asked.description or []], asked.fetchall()
    assert isinstance(warehouse, PostgresWarehouse)
    with psycopg.connect(warehouse.server.url(warehouse.database)) as postgres:
        cursor = postgres.execute(sql.encode())
        return [column.name for column in cursor.description or []], cursor.fetchall()


@dataclass(frozen=True)
class Outcome:
    """What a dbt command came to: whether it ended well, and the status of each node by name."""

    green: bool
    statuses: Mapping[str, str]
    messages: Mapping[str, str]  # of the nodes that have one

    @property
    def failed(self) -> set[str]:
        """Names of the tests, models and sources that dbt reports as failed."""
        return {n for n, s in self.statuses.items() if s in ("fail", "error", "runtime error")}

    @property
    def warned(self) -> set[str]:
        """Names of the tests of which dbt warns."""
        return {name for name, status in self.statuses.items() if status == "warn"}

    def __str__(self) -> str:
        said = "".join(f"\n{name}: {self.messages.get(name)}" for name in sorted(self.failed))
        return f"{'green' if self.green else 'red'}{said}"


def _make_project(folder: Path) -> None:
    """The project with dbt's packages; it is parsed where the first copy of it is."""
    copy_project(folder)
    shutil.copyfile(folder / "profiles.example.yml", folder / "profiles.yml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBT_PACKAGE_HUB_URL", "http://127.0.0.1:9/")  # nobody is there
        install_packages(folder)


class Project:
    """A copy of the project, ready for dbt; its marts take `as_of` for today, if given.

    Each build makes the evaluation anew, so that every mart is as it would be if made from nothing.
    """

    # Whether to begin with what all processes parsed; not where most files are taken away.
    knows_parsed = True

    def __init__(
        self, folder: Path, as_of: date | None = None, days_between_evaluations: int = 0
    ) -> None:
        self.folder = folder
        day = {"as_of_date": str(as_of)} if as_of else {}
        self._given = {**day, "days_between_evaluations": days_between_evaluations}
        self._manifests: dict[tuple[str, str], Any] = {}
        self._edited = False
        shutil.copytree(once("project", _make_project), folder, dirs_exist_ok=True)

    def on(self, day: date) -> Project:
        """The same project, parsed once, whose marts take another day for today."""
        other = copy.copy(self)
        other._given = self._given | {"as_of_date": str(day)}
        return other

    def dbt(self, warehouse: Warehouse, *arguments: str) -> Outcome:
        """Run a dbt command on a warehouse; the project is parsed anew only after an edit."""
        manifest = self._manifest(warehouse)
        result = self._invoke(warehouse, *arguments, "--no-write-json", manifest=manifest)
        # Without the hook at the end, which dbt counts as a node.
        nodes = [r for r in result.result if r.node.resource_type != "operation"]
        return Outcome(
            result.success,
            {r.node.name: str(r.status) for r in nodes},
            {r.node.name: str(r.message) for r in nodes if r.message},
        )

    def leave_comments(self, warehouse: Warehouse) -> None:
        """Let builds write no more comments, as `make build` does while the code is the same."""
        for node in self._manifest(warehouse).nodes.values():
            if node.config.get("persist_docs"):
                node.config.persist_docs = {}

    def nodes(self, warehouse: Warehouse) -> list[Node]:
        """What `make build` knows of the project's nodes."""
        return nodes_of(self._manifest(warehouse))

    def operation(self, warehouse: Warehouse, macro: str) -> bool:
        """Run a macro by itself; whether it ended well."""
        return bool(self._invoke(warehouse, "run-operation", macro, "--no-write-json").success)

    def built(self, warehouse: Warehouse, *arguments: str) -> Any:
        """What dbt's own runner says of a build."""
        manifest = self._manifest(warehouse)
        return self._invoke(warehouse, "build", "--no-write-json", *arguments, manifest=manifest)

    def parses(self, warehouse: Warehouse) -> str:
        """Why dbt does not parse the project when each warning is an error; empty when it does."""
        try:
            self._invoke(warehouse, "--warn-error", "parse", "--no-partial-parse")
        except DbtBaseException as error:
            return str(error)
        return ""

    def compiled(self, warehouse: Warehouse, *arguments: str) -> dict[str, str]:
        """The SQL of models and analyses by name; `arguments` are those of `dbt compile`."""
        # With a manifest of its own, for dbt writes what it compiled into it.
        manifest = self._parsed(warehouse)
        result = self._invoke(warehouse, "compile", *arguments, manifest=manifest)
        return {
            found.node.name: found.node.compiled_code
            for found in result.result
            if found.node.resource_type in ("model", "analysis")
        }

    def shown(self, warehouse: Warehouse, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query in dbt's Jinja, as the adapter's table has them."""
        manifest = self._parsed(warehouse)  # dbt adds the query to it
        result = self._invoke(
            warehouse,
            "show",
            "--inline",
            sql,
            "--limit",
            "-1",
            "--no-write-json",
            manifest=manifest,
        )
        return [tuple(row) for row in result.result.results[0].agate_table.rows]

    def catalog(self, warehouse: Warehouse) -> dict[str, dict[str, str]]:
        """By model, source and other table: the types of the columns, as `dbt docs` has them."""
        manifest = self._parsed(warehouse)
        result = self._invoke(warehouse, "docs", "generate", manifest=manifest)
        tables = result.result.nodes | result.result.sources
        return {
            found.metadata.name: {name: column.type for name, column in found.columns.items()}
            for found in tables.values()
        }

    def lineage(self, warehouse: Warehouse) -> set[tuple[str, str, str, str]]:
        """Each step of a column on the page of the lineage: node, column, and where they go.

        Nodes are without the names of their kind and package.
        """
        self.catalog(warehouse)
        return self.lineage_of_catalog(warehouse)

    def lineage_of_catalog(self, warehouse: Warehouse) -> set[tuple[str, str, str, str]]:
        """The same, where the catalog has just been made."""
        page = self._made(warehouse) / "lineage.html"
        assert write_lineage(self._made(warehouse), page) == ""
        data = re.search(r'colibriData = JSON.parse\(atob\("([^"]+)"', page.read_text("utf-8"))
        assert data
        return {
            (
                step["source"].split(".", 2)[2],
                step["sourceColumn"],
                step["target"].split(".", 2)[2],
                step["targetColumn"],
            )
            for step in json.loads(base64.b64decode(data[1]))["lineage"]["edges"]
        }

    def manifest(self, warehouse: Warehouse) -> dict[str, Any]:
        """The project as dbt understands it: what it writes to manifest.json."""
        manifest: dict[str, Any] = self._manifest(warehouse).writable_manifest().to_dict()
        return manifest

    def semantic_manifest(self, warehouse: Warehouse) -> str:
        """The metrics and what they are made of: what dbt writes to semantic_manifest.json."""
        made = self._made(warehouse) / "semantic_manifest.json"
        SemanticManifest(self._manifest(warehouse)).write_json_to_file(str(made))
        return made.read_text("utf-8")

    def marts(self, warehouse: Warehouse, *more: str) -> list[Mart]:
        """What the project builds for others to read, and in `more` schemas for itself."""
        self._manifest(warehouse)
        return marts_of(self._made(warehouse) / "manifest.json", *more)

    @contextlib.contextmanager
    def edited(self, edits: Sequence[tuple[str, str, str]]) -> Iterator[None]:
        """Replace text in files, each given as (path, old, new), and put it back at the end."""
        before = {path: (self.folder / path).read_text("utf-8") for path, _, _ in edits}
        manifests = self._manifests
        try:
            for path, old, new in edits:
                text = (self.folder / path).read_text("utf-8")
                assert old in text, f"{path} has changed and has no text {old!r} any more"
                (self.folder / path).write_text(text.replace(old, new), "utf-8")
                self._manifests, self._edited = {}, True
            yield
        finally:
            self._manifests, self._edited = manifests, False
            for path, text in before.items():
                (self.folder / path).write_text(text, "utf-8")

    def forget(self) -> None:
        """Parse the project anew: a file was changed or added."""
        self._manifests = {}

    def _made(self, warehouse: Warehouse) -> Path:
        return self.folder / "target" / warehouse.target

    def _manifest(self, warehouse: Warehouse) -> Any:
        place = warehouse.target, warehouse.database
        if place not in self._manifests:
            self._manifests[place] = self._parsed(warehouse)
        return self._manifests[place]

    def _parsed(self, warehouse: Warehouse) -> Any:
        """What dbt reads of the project, with as little parsing as can be."""
        made = self._made(warehouse)
        if self.knows_parsed:  # also after an edit, or its undoing would be parsed beside the next
            made.mkdir(parents=True, exist_ok=True)
            first = once(
                f"parsed_{warehouse.target}", lambda folder: self._parse(warehouse, folder)
            )
            shutil.copyfile(first / PARSED, made / PARSED)
        # Of the files that dbt writes, only those of the project as it is are read.
        silent = ("--no-write-json",) if self._edited else ()
        manifest = self._invoke(warehouse, "parse", *silent).result
        move(manifest, warehouse.database)
        return manifest

    def _parse(self, warehouse: Warehouse, folder: Path) -> None:
        """Parse the project as it was made, for all processes of the run."""
        project = Project(folder / "project")
        project._invoke(warehouse, "parse")
        shutil.copyfile(project._made(warehouse) / PARSED, folder / PARSED)

    def _invoke(self, warehouse: Warehouse, *arguments: str, manifest: Any = None) -> Any:
        made = self._made(warehouse)
        variables, place = json.dumps(self._given), warehouse.variables
        if "parse" in arguments:
            # No file asks for these while it is parsed, and dbt parses all anew where they differ.
            variables, place = "{}", PARSED_FOR[warehouse.target]
        options = ["--project-dir", str(self.folder), "--profiles-dir", str(self.folder)]
        options += ["--vars", variables]
        options += ["--target", warehouse.target, "--target-path", str(made)]
        options += ["--log-path", str(made), "--log-level", "none", "--log-level-file", "none"]
        with pytest.MonkeyPatch.context() as patch:
            for name, value in place.items():
                patch.setenv(name, value)
            try:
                result = dbtRunner(manifest=manifest).invoke([*arguments, *options])
            finally:
                # Otherwise this process goes on holding the file, and would not see it replaced.
                DuckDBConnectionManager.close_all_connections()
        if result.exception is not None:
            raise result.exception
        return result


@dataclass(frozen=True)
class Mart:
    """A table that others may read, as the project declares it."""

    name: str
    columns: Mapping[str, str]  # name -> type in the contract
    key: tuple[str, ...]
    schema: str = "marts"

    def rows(self, warehouse: Warehouse) -> list[tuple[Any, ...]]:
        """Every row, in the order of the key."""
        found = warehouse.query(f"select {', '.join(self.columns)} from {self.schema}.{self.name}")
        places = [list(self.columns).index(column) for column in self.key]
        return sorted(found, key=lambda row: [row[place] for place in places])


def marts_of(manifest_json: Path, *more: str) -> list[Mart]:
    """The models in the schema marts, and in `more` schemas, from what dbt wrote of the project.

    Without those that tell of runs, in which each run is another one.
    """
    nodes = json.loads(manifest_json.read_text("utf-8"))["nodes"]
    keys: dict[str, tuple[str, ...]] = {}
    for node in nodes.values():
        test = node.get("test_metadata", {})
        if test.get("name") == "primary_key":
            columns = test["kwargs"]["columns"]
            if set(columns) <= set(nodes.get(node["attached_node"], {"columns": ()})["columns"]):
                keys[node["attached_node"]] = tuple(columns)
    marts = [
        Mart(
            node["name"],
            {name: column["data_type"] for name, column in node["columns"].items()},
            keys.get(unique_id, tuple(node["columns"])[:1]),  # a view's is that of the fact below
            node["config"]["schema"],
        )
        for unique_id, node in nodes.items()
        if node["resource_type"] == "model"
        and node["config"]["schema"] in ("marts", *more)
        and "operations" not in node["fqn"]
    ]
    assert marts
    return marts


def digests(marts: Sequence[Mart], warehouse: Warehouse) -> dict[str, str]:
    """A hash of each mart's rows: of every value and its type."""
    return {
        mart.name: hashlib.sha256(repr(mart.rows(warehouse)).encode()).hexdigest() for mart in marts
    }


def assert_same_rows(marts: Sequence[Mart], left: Warehouse, right: Warehouse) -> None:
    """Each mart has rows, and exactly the same in both warehouses; the first others are shown."""
    for mart in marts:
        one, other = mart.rows(left), mart.rows(right)
        assert one and len(one) == len(other), mart.name
        # repr, because Decimal("1.0") == Decimal("1.00") == 1.
        different = [two for two in zip(one, other, strict=True) if repr(two[0]) != repr(two[1])]
        assert different[:2] == [], mart.name


def our_name(column: str) -> str:
    """customerNumber -> customer_number, addressLine1 -> address_line_1."""
    return RENAMED.get(column) or re.sub(r"(?<=[a-z])(?=[A-Z0-9])", "_", column).lower()


def project_without_models(folder: Path) -> Project:
    """The project's macros and settings without its models, which take seconds to parse."""
    project = Project(folder)
    project.knows_parsed = False
    for name in ("analyses", "models", "seeds", "snapshots", "tests/singular"):
        shutil.rmtree(project.folder / name)
    (project.folder / "models" / "marts").mkdir(parents=True)
    shutil.copy(REPO / "models" / "_groups.yml", project.folder / "models")
    return project
