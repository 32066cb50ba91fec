"""The one module that calls dbt's Python API. Everything else gets the plain rows defined here.

dbt takes more than a second to import, so each function imports what it needs when it is called.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from argparse import Namespace
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from pipeline.profile import Output

GOOD = ("success", "pass", "no-op")
# The tag of the nodes that a build has chosen.
CHOSEN = "chosen_by_make_build"
# The codes that the macro report_outcome gives to a model of which it counted the rows, and to one
# that dbt rebuilt because its columns changed.
ROWS_WERE_COUNTED, WAS_REBUILT = "WRITTEN", "REBUILT"


class DbtError(RuntimeError):
    """dbt could not run a command, or read a file; the text is what dbt says."""


@dataclass(frozen=True)
class Found:
    """What a test found: how many rows, of how much money where it knows, and the first ones."""

    count: int
    amount: Decimal | None = None
    rows: Sequence[str] = ()


@dataclass(frozen=True)
class Result:
    """What became of one node of the project: a model, test, unit test, seed, snapshot or source.

    `kind` and `status` are dbt's own words. `selector` is what dbt's option `--select` takes.
    `rows_written` is for incremental models only; it is None where dbt rebuilt or skipped one.
    `was_rebuilt`: its columns changed; `message` says which. `loaded_at` is for sources only: the
    newest row's time. `failures`, `sql` and `found` are for tests of rows only.
    """

    name: str
    kind: str
    status: str
    seconds: float = 0.0
    message: str = ""
    description: str = ""
    path: str = ""
    compiled_path: str = ""
    selector: str = ""
    is_incremental: bool = False
    rows_written: int | None = None
    was_rebuilt: bool = False
    loaded_at: datetime | None = None
    failures: int = 0
    sql: str = field(default="", repr=False)
    found: Found | None = None

    @property
    def is_good(self) -> bool:
        """Whether nothing failed, warned or was skipped."""
        return self.status in GOOD


@dataclass(frozen=True)
class Run:
    """What a dbt command did: whether it succeeded, and one result for each node."""

    succeeded: bool
    results: Sequence[Result]


@dataclass(frozen=True)
class Owner:
    """Who answers for a group of models or for an exposure."""

    name: str
    email: str


@dataclass(frozen=True)
class Group:
    """A group of models with one owner."""

    name: str
    description: str
    owner: Owner


@dataclass(frozen=True)
class Mart:
    """A model that others may read; `group` is the name of its group."""

    id: str
    name: str
    description: str
    group: str


@dataclass(frozen=True)
class Relation:
    """A model or snapshot in the database. `key` are the columns that name its rows, if known."""

    schema: str
    name: str
    key: Sequence[str]


@dataclass(frozen=True)
class Code:
    """The text of a model or macro of the project, and the names of the models that run it."""

    id: str
    path: str
    text: str
    models: Sequence[str]


@dataclass(frozen=True)
class Node:
    """A node of the project, of dbt's kinds. `table` is the raw table of a source, else empty.

    `is_view`: a view that stays when what it reads is built. `words` are those of its SQL and of
    the project's macros that it calls.
    """

    id: str
    name: str
    kind: str
    parents: Sequence[str]
    is_view: bool = False
    table: str = ""
    is_judged: bool = False  # a source whose freshness has limits
    words: frozenset[str] = field(default=frozenset(), repr=False)


@dataclass(frozen=True)
class Exposure:
    """A dashboard, report or the like that reads marts; `reads` holds their ids."""

    label: str
    type: str
    maturity: str
    description: str
    owner: Owner
    reads: Sequence[str]


class Dbt:
    """dbt in this process: it parses the project once and prints nothing.

    `options` go to every command, `variables` to all but the parser: it asks for none of them, and
    parses everything anew where they differ. `show` receives a line for each node that dbt starts
    or ends. `file`: the DuckDB file to open instead of the one that the profile names.
    """

    def __init__(
        self,
        options: Sequence[str],
        show: Callable[[str], None],
        variables: Sequence[str] = (),
        file: str = "",
    ) -> None:
        from dbt.cli.main import dbtRunner

        self._file = file

        # Without the last two, "none" would silence logs/dbt.log too.
        self._options = [*options, "--log-level", "none", "--log-level-file", "debug"]
        self._show = show
        self._reached = 0
        self._runner = dbtRunner(callbacks=[self._on_event])
        self._manifest: Any = self._invoke("parse", "--no-write-json").result
        self._runner.manifest = self._manifest
        self._options += variables

    def build(self, *arguments: str) -> Run:
        """Build and test the models. Raises DbtError when dbt cannot start."""
        done = self._invoke("build", *arguments)
        return Run(done.success, [_result(found) for found in done.result.results])

    def build_some(self, nodes: Collection[str], *arguments: str) -> Run:
        """Build and test these nodes, by their ids, and no others. Raises DbtError."""
        # By one tag, because dbt looks at each node of the project once for each name that it gets.
        chosen = [self._manifest.nodes[node] for node in nodes]
        for node in chosen:
            node.tags.append(CHOSEN)
        try:
            return self.build("--select", f"tag:{CHOSEN}", *arguments)
        finally:
            for node in chosen:
                node.tags.remove(CHOSEN)

    def test(self, *arguments: str) -> Run:
        """Test what is built, and nothing else. Raises DbtError when dbt cannot start."""
        done = self._invoke("test", *arguments)
        return Run(done.success, [_result(found) for found in done.result.results])

    def freshness(self) -> Run:
        """Ask how fresh the sources are. Raises DbtError when dbt cannot start."""
        done = self._invoke("source", "freshness")
        results = [_result(found) for found in done.result.results]
        # dbt also counts the hooks at the end of a run.
        return Run(done.success, [result for result in results if result.kind == "source"])

    def write_catalog(self, *, is_compiled: bool) -> bool:
        """Write the catalog into target/; returns whether it is complete. Raises DbtError.

        To compile models that a build has compiled would query the warehouse again.
        """
        compiled = ("--no-compile",) if is_compiled else ()
        return bool(self._invoke("docs", "generate", "--static", *compiled).success)

    def table(self, sql: str, limit: int = -1) -> tuple[list[str], list[tuple[Any, ...]]]:
        """The columns and the first rows of a query in plain SQL; none where it fails.

        It writes no artifact: `dbt retry` reads run_results.json, which stays that of the build.
        """
        sql = "{% raw %}" + sql + "{% endraw %}"
        try:
            done = self._invoke("show", "--inline", sql, "--limit", str(limit), "--no-write-json")
        except DbtError:
            return [], []
        if not done.success:
            return [], []
        table = done.result.results[0].agate_table
        return list(table.column_names), [tuple(row) for row in table.rows]

    def personal_columns(self) -> set[str]:
        """Names of columns that some mart classifies as personal, without underscores."""
        return {
            name.replace("_", "")
            for node in self._models()
            for name, column in node.columns.items()
            if column.config.meta.get("personal_data")
        }

    def marts(self) -> list[Mart]:
        """The models that others may read, by name."""
        marts = [
            Mart(node.unique_id, node.name, _one_line(node.description), node.group or "")
            for node in self._models()
            if node.access == "public"
        ]
        return sorted(marts, key=lambda mart: mart.name)

    def groups(self) -> list[Group]:
        """The groups of models, by name."""
        groups = [
            Group(group.name, group.description or "", _owner(group))
            for group in self._manifest.groups.values()
        ]
        return sorted(groups, key=lambda group: group.name)

    def exposures(self) -> list[Exposure]:
        """What reads the marts, by name."""
        return [
            Exposure(
                exposure.label or exposure.name,
                str(exposure.type),
                str(exposure.maturity or ""),
                _one_line(exposure.description),
                _owner(exposure),
                sorted(exposure.depends_on.nodes),
            )
            for exposure in sorted(self._manifest.exposures.values(), key=lambda e: str(e.name))
        ]

    def relations(self) -> list[Relation]:
        """The models and snapshots, each after what it reads."""
        found: dict[str, Relation] = {}

        def add(name: str) -> None:
            node = self._manifest.nodes.get(name)
            if name in found or node is None or node.resource_type not in ("model", "snapshot"):
                return
            for parent in node.depends_on.nodes:
                add(parent)
            key = node.config.unique_key or [] if node.resource_type == "model" else "dbt_scd_id"
            key = [key] if isinstance(key, str) else key
            found[name] = Relation(node.schema, node.alias, key)

        for name in self._manifest.nodes:
            add(name)
        return list(found.values())

    @contextmanager
    def built_in(self, schema: str) -> Iterator[None]:
        """Let dbt build all models and snapshots in this schema; nothing is parsed."""
        nodes = [
            n for n in self._manifest.nodes.values() if n.resource_type in ("model", "snapshot")
        ]
        before = {node.unique_id: (node.schema, node.relation_name) for node in nodes}
        names: dict[str, str] = {}
        for node in nodes:
            own = f'"{node.schema}"."{node.alias}"'
            names[f'"{schema}"."{node.alias}"'] = own
            node.relation_name = node.relation_name.replace(own, f'"{schema}"."{node.alias}"')
            node.schema = schema
        self._manifest.build_flat_graph()  # what macros see as `graph`
        try:
            yield
        finally:
            for node in nodes:
                node.schema, node.relation_name = before[node.unique_id]
            self._manifest.build_flat_graph()
            # The catalog shows the SQL of what people see.
            for node in self._manifest.nodes.values():
                for working, own in names.items() if getattr(node, "compiled_code", None) else ():
                    node.compiled_code = node.compiled_code.replace(working, own)

    def code(self) -> str:
        """A hash of the project's files, packages and settings."""
        files = self._manifest.files.items()
        parts = sorted((name, file.checksum.checksum) for name, file in files)
        return hashlib.sha256(f"{parts}{self._manifest.state_check}".encode()).hexdigest()

    def nodes(self) -> list[Node]:
        """All nodes that a build can run, unit tests, and the sources."""
        return nodes_of(self._manifest)

    def codes(self) -> list[Code]:
        """Every model of the project, and every macro of it with the models that call it."""
        texts = _macro_texts(self._manifest)
        called = {node.name: _called(node.raw_code, texts) for node in self._models()}
        found = [
            Code(node.unique_id, node.original_file_path, node.raw_code, [node.name])
            for node in self._models()
        ]
        for macro in _own_macros(self._manifest):
            name = macro.name.rpartition("__")[2]
            models = [model for model, names in called.items() if name in names]
            found.append(Code(macro.unique_id, macro.original_file_path, macro.macro_sql, models))
        return found

    @contextmanager
    def replaced(self, node: str, text: str) -> Iterator[None]:
        """Let a model or macro have another text that calls no other model; nothing is parsed."""
        if node in self._manifest.macros:
            changed, field = self._manifest.macros[node], "macro_sql"
        else:
            changed, field = self._manifest.nodes[node], "raw_code"
        before = getattr(changed, field)
        setattr(changed, field, text)
        try:
            yield
        finally:
            setattr(changed, field, before)

    def _models(self) -> list[Any]:
        return [n for n in self._manifest.nodes.values() if n.resource_type == "model"]

    def _invoke(self, *arguments: str) -> Any:
        self._reached = 0
        with opening(self._file):
            done = self._runner.invoke([*arguments, *self._options])
        if isinstance(done.exception, KeyboardInterrupt):
            raise done.exception
        if done.exception is not None:
            said = "\n  ".join(str(done.exception).strip().splitlines())
            raise DbtError(f"dbt {arguments[0]} stopped. {said}")
        return done

    def _on_event(self, event: Any) -> None:
        data = event.data
        total = getattr(data, "total", 0) or getattr(data, "num_models", 0)
        if total and data.index:
            # Threads report out of order; a count that goes back would look broken.
            self._reached = max(self._reached, data.index)
            self._show(f"dbt  {self._reached}/{total}  {data.node_info.node_name}")


def nodes_of(manifest: Any) -> list[Node]:
    """The nodes of a manifest that a build can run, its unit tests, and the sources."""
    texts = _macro_texts(manifest)
    found = [
        Node(
            source.unique_id,
            source.name,
            "source",
            (),
            table=source.identifier.lower(),
            is_judged=source.has_freshness,
        )
        for source in manifest.sources.values()
    ]
    for node in manifest.nodes.values():
        if node.resource_type not in ("model", "snapshot", "seed", "test"):
            continue
        metadata = getattr(node, "test_metadata", None)
        given = f"{metadata.kwargs if metadata else ''} {node.config.get('where') or ''}"
        text = f"{node.raw_code} {given}"
        text += "".join(texts[name] for name in _called(text, texts))
        found.append(
            Node(
                node.unique_id,
                node.name,
                str(node.resource_type),
                node.depends_on_nodes,
                is_view=_is_lasting_view(manifest, node),
                words=frozenset(re.findall(r"\w+", text)),
            )
        )
    found += [
        Node(test.unique_id, test.name, "unit_test", ()) for test in manifest.unit_tests.values()
    ]
    return found


def _is_lasting_view(manifest: Any, node: Any) -> bool:
    """Whether no table below a view is replaced by each build, with which PostgreSQL drops it."""
    parents = [manifest.nodes[name] for name in node.depends_on_nodes if name in manifest.nodes]
    return node.config.materialized == "view" and all(
        _is_lasting_view(manifest, parent)
        for parent in parents
        if parent.config.materialized in ("view", "table")
    )


def _macro_texts(manifest: Any) -> dict[str, str]:
    """The text of each macro of the project, with those that are dispatched by their name."""
    texts: dict[str, str] = {}
    for macro in _own_macros(manifest):
        # A call of a dispatched macro names it without the adapter.
        name = macro.name.rpartition("__")[2]
        texts[name] = texts.get(name, "") + macro.macro_sql
    return texts


def _own_macros(manifest: Any) -> list[Any]:
    project = manifest.metadata.project_name
    return [m for m in manifest.macros.values() if m.package_name == project]


def run_dbt(*arguments: str) -> bool:
    """Run one dbt command, which prints its own messages; returns whether it succeeded."""
    from dbt.cli.main import dbtRunner

    return bool(dbtRunner().invoke([*arguments]).success)


@contextmanager
def opening(file: str) -> Iterator[None]:
    """Let dbt open this DuckDB file instead of the one that the profile names; "" changes nothing.

    With another path in the profile dbt would parse the whole project again.
    """
    if not file:
        yield
        return
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    def elsewhere(_: type, credentials: Any) -> Any:
        return replace(credentials, path=file)

    before = vars(DuckDBConnectionManager)["get_credentials"]
    DuckDBConnectionManager.get_credentials = classmethod(elsewhere)
    try:
        yield
    finally:
        DuckDBConnectionManager.get_credentials = before


def close_connections() -> None:
    """Close what dbt holds open in this process: a DuckDB file, which nobody else could open."""
    # Where the adapter was never imported, it holds nothing.
    if connections := sys.modules.get("dbt.adapters.duckdb.connections"):
        connections.DuckDBConnectionManager.close_all_connections()


def adapter(kind: str) -> Any:
    """dbt's adapter for a kind of warehouse, after a command has used it. MetricFlow needs it."""
    from dbt.adapters.factory import get_adapter_by_type

    return get_adapter_by_type(kind)


def read_output(project: Path, profiles: Path, name: str | None) -> Output:
    """The output `name` of the project's profile, or the default one. Raises DbtError."""
    from dbt.config.runtime import load_profile
    from dbt.flags import set_from_args
    from dbt_common.context import set_invocation_context
    from dbt_common.exceptions import DbtBaseException

    set_invocation_context(dict(os.environ))
    set_from_args(Namespace(profiles_dir=str(profiles), project_dir=str(project)), None)
    try:
        profile = load_profile(str(project), {})
        is_default = name in (None, profile.target_name)
        if not is_default:
            profile = load_profile(str(project), {}, target_override=name)
    except DbtBaseException as error:
        raise DbtError(" ".join(str(error).split())) from error
    credentials = profile.credentials
    return Output(
        name=profile.target_name,
        kind=credentials.type,
        schema=credentials.schema,
        database=credentials.database,
        is_default=is_default,
        settings=vars(credentials),
    )


def _result(found: Any) -> Result:
    node = found.node
    kind = str(node.resource_type)
    is_incremental = kind == "model" and node.config.materialized == "incremental"
    answer = found.adapter_response
    was_counted = is_incremental and answer.get("code") == ROWS_WERE_COUNTED
    return Result(
        name=node.name,
        kind=kind,
        status=str(found.status),
        seconds=found.execution_time,
        message=str(found.message or ""),
        description=_one_line(node.description),
        path=node.original_file_path,
        compiled_path=getattr(node, "compiled_path", None) or "",
        selector=f"source:{node.source_name}.{node.name}" if kind == "source" else node.name,
        is_incremental=is_incremental,
        rows_written=answer["rows_affected"] if was_counted else None,
        was_rebuilt=is_incremental and answer.get("code") == WAS_REBUILT,
        loaded_at=getattr(found, "max_loaded_at", None),
        failures=getattr(found, "failures", None) or 0,
        sql=(getattr(node, "compiled_code", None) or "") if kind == "test" else "",
    )


def _called(text: str, macros: Mapping[str, str]) -> set[str]:
    """The macros that a text calls, also through others; dbt knows only those it has rendered."""
    found: set[str] = set()
    left = [text]
    while left:
        words = set(re.findall(r"(\w+)\(", left.pop())) & macros.keys() - found
        found |= words
        left += [macros[word] for word in words]
    return found


def _owner(thing: Any) -> Owner:
    return Owner(thing.owner.name or "", thing.owner.email or "")


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())
