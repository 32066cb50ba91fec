"""dbt's commands on the project, which is parsed once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.dbt_runner.manifest import (
    called_macros,
    macro_texts,
    nodes_of,
    one_line,
    own_macros,
    owner_of,
    result_of,
)
from pipeline.dbt_runner.parsed import Parsed
from pipeline.dbt_runner.process import adapter, opening
from pipeline.dbt_runner.rows import (
    Code,
    DbtError,
    Exposure,
    Group,
    Mart,
    Node,
    Relation,
    Run,
)
from pipeline.dbt_runner.speed import lasting, made, speed_up
from pipeline.postgres_session import session_settings

# The tag of the nodes that a build has chosen.
CHOSEN = "chosen_by_make_build"


class Dbt:
    """dbt in this process: it parses the project once and prints nothing.

    `options` go to every command, `variables` to all but the parser: it asks for none of them, and
    parses everything anew where they differ. `show` receives a line for each node that dbt starts
    or ends. `file`: the DuckDB file to open instead of the one that the profile names. `parsed`:
    where an earlier build left the project as parsed; without that it is parsed now. `log`: the
    level of logs/dbt.log, whose lines of `debug` take a tenth of the time of a small run.
    """

    def __init__(
        self,
        options: Sequence[str],
        show: Callable[[str], None],
        variables: Sequence[str] = (),
        file: str = "",
        parsed: Parsed | None = None,
        log: str = "debug",
    ) -> None:
        if parsed:
            parsed.read_made(*made())
        self._made = [len(kept) for kept in made()]
        with lasting():
            speed_up(in_duckdb=bool(file))
            from dbt.cli.main import dbtRunner

            self._manifest: Any = parsed.read() if parsed else None
        self._file = file
        self._parsed = parsed
        # Without the last two, "none" would silence logs/dbt.log too.
        self._options = [*options, "--log-level", "none", "--log-level-file", log]
        self._show = show
        self._reached = 0
        self._runner = dbtRunner(callbacks=[self._on_event])
        if self._manifest is None:
            self._manifest = self._invoke("parse", "--no-write-json").result
            if parsed:
                parsed.write(self._manifest)
        self._runner.manifest = self._manifest
        self._options += variables

    def build(self, *arguments: str) -> Run:
        """Build and test the models. Raises DbtError when dbt cannot start."""
        done = self._invoke("build", *arguments)
        self._keep_made()
        return Run(done.success, [result_of(found) for found in done.result.results])

    def build_some(self, nodes: Collection[str], *arguments: str, command: str = "build") -> Run:
        """Build and test these nodes, by their ids, and no others. Raises DbtError.

        The code is that of the last green build. So tables and snapshots that are not made anew
        have their comments, and manifest.json, which takes time, is written only where something
        failed. By the command `test`, a test that fails lets no other one be skipped.
        """
        # By one tag, because dbt looks at each node of the project once for each name that it gets.
        chosen = [self._manifest.nodes[node] for node in nodes]
        lasting = [n for n in chosen if n.config.materialized in ("incremental", "snapshot")]
        commented = [node.config.persist_docs for node in lasting]
        for node in chosen:
            node.tags.append(CHOSEN)
        for node in lasting:
            node.config.persist_docs = {}
        try:
            done = self._invoke(command, "--select", f"tag:{CHOSEN}", *arguments, "--no-write-json")
        finally:
            for node in chosen:
                node.tags.remove(CHOSEN)
            for node, comments in zip(lasting, commented, strict=True):
                node.config.persist_docs = comments
        self._keep_made()
        done.result.args["write_json"] = True
        target = Path(os.environ.get("DBT_TARGET_PATH") or "target")
        done.result.write(str(target / "run_results.json"))
        if not done.success:
            self._manifest.write(str(target / "manifest.json"))
        return Run(done.success, [result_of(found) for found in done.result.results])

    def test(self, *arguments: str) -> Run:
        """Test what is built, and nothing else. Raises DbtError when dbt cannot start."""
        done = self._invoke("test", *arguments)
        return Run(done.success, [result_of(found) for found in done.result.results])

    def freshness(self) -> Run:
        """Ask how fresh the sources are. Raises DbtError when dbt cannot start."""
        done = self._invoke("source", "freshness")
        results = [result_of(found) for found in done.result.results]
        # dbt also counts the hooks at the end of a run.
        return Run(done.success, [result for result in results if result.kind == "source"])

    def write_catalog(self, folder: Path, *, is_compiled: bool) -> bool:
        """Write the catalog into a folder; returns whether it is complete. Raises DbtError.

        To compile models that a build has compiled would query the warehouse again.
        """
        compiled = ("--no-compile",) if is_compiled else ()
        if is_compiled:
            # Else dbt writes it. Its page holds the manifest, of this warehouse and no other.
            folder.mkdir(parents=True, exist_ok=True)
            self._manifest.write(str(folder / "manifest.json"))
        place = ("--target-path", str(folder))
        return bool(self._invoke("docs", "generate", "--static", *place, *compiled).success)

    def table(self, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """The columns and rows of a query in plain SQL; none where it fails.

        By the adapter, not by `dbt show`, which parses the project anew for each query.
        """
        from dbt_common.exceptions import DbtBaseException

        warehouse = adapter(self._manifest.metadata.adapter_type)
        try:
            with opening(self._file), warehouse.connection_named("findings"):
                for setting in session_settings(warehouse.type()):
                    warehouse.execute(setting)
                _, table = warehouse.execute(sql, fetch=True)
        except DbtBaseException:
            return [], []
        finally:
            # As after each command: nobody else could open a DuckDB file.
            warehouse.cleanup_connections()
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
            Mart(node.unique_id, node.name, one_line(node.description), node.group or "")
            for node in self._models()
            if node.access == "public"
        ]
        return sorted(marts, key=lambda mart: mart.name)

    def groups(self) -> list[Group]:
        """The groups of models, by name."""
        groups = [
            Group(group.name, group.description or "", owner_of(group))
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
                one_line(exposure.description),
                owner_of(exposure),
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
        texts = macro_texts(self._manifest)
        called = {node.name: called_macros(node.raw_code, texts) for node in self._models()}
        found = [
            Code(node.unique_id, node.original_file_path, node.raw_code, [node.name])
            for node in self._models()
        ]
        for macro in own_macros(self._manifest):
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

    def _keep_made(self) -> None:
        if self._parsed and [len(kept) for kept in made()] != self._made:
            self._parsed.write_made(*made())
            self._made = [len(kept) for kept in made()]

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
