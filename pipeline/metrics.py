"""List the shop's metrics, or query them: what `make metrics` runs.

    python scripts/metrics.py
    python scripts/metrics.py --metrics revenue --group-by location__territory

Without arguments it says what each metric means and by which dimensions it can be grouped. The
arguments are those of `mf query`, which answers. `mf` itself would also ask the package index for
its newest version.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dbt_metricflow.cli.cli_configuration import CLIConfiguration
from dbt_metricflow.cli.dbt_connectors.adapter_backed_client import AdapterBackedSqlClient
from dbt_metricflow.cli.dbt_connectors.dbt_config_accessor import dbtArtifacts
from dbt_metricflow.cli.main import query
from metricflow.engine.metricflow_engine import MetricFlowEngine
from metricflow_semantics.model.semantic_manifest_lookup import SemanticManifestLookup

from pipeline.dbt_packages import PackageError, install_packages
from pipeline.dbt_runner import adapter, run_dbt
from pipeline.project import PROJECT
from pipeline.target import ensure_profile, find_warehouse
from pipeline.warehouse import ProfileError, Warehouse

INDENT = " " * 6


class MetricsError(RuntimeError):
    """The metrics cannot be read; the text says why and what to do."""


def semantic_manifest(warehouse: Warehouse) -> Any:
    """MetricFlow's view of the project as it is now. Raises MetricsError."""
    if not run_dbt("--quiet", "parse", *warehouse.options):
        raise MetricsError("dbt cannot read the project; see dbt's message above.")
    return dbtArtifacts.build_semantic_manifest_from_dbt_project_root(PROJECT)


def listed(metrics: Iterable[Any]) -> Iterator[str]:
    """What each metric means, and below metrics with the same dimensions, these dimensions."""
    alike: dict[tuple[str, ...], list[Any]] = {}
    for metric in metrics:
        found = {dimension.granularity_free_dunder_name for dimension in metric.dimensions}
        alike.setdefault(tuple(sorted(found)), []).append(metric)
    for names, group in alike.items():
        for metric in group:
            text = f"{metric.label}. {' '.join(metric.description.split())}"
            yield f"{metric.name}\n{folded(text)}"
        yield f"  by\n{folded(', '.join(names))}\n"


def folded(text: str) -> str:
    """A paragraph in lines of 100 characters, indented."""
    return textwrap.fill(text, 100, initial_indent=INDENT, subsequent_indent=INDENT)


def answer(arguments: Sequence[str], manifest: Any, profiles: Path, warehouse: Warehouse) -> None:
    """Answer as `mf query` does, and exit as it does. Raises MetricsError."""
    if warehouse.options:
        raise MetricsError(
            f"MetricFlow reads only the default output of {profiles / 'profiles.yml'}: make"
            f" {warehouse.name} its target."
        )
    mart = manifest.semantic_models[0].node_relation.relation_name
    if not warehouse.ask(f"select count(*) from {mart}"):
        raise MetricsError(
            f"{warehouse.place} has no marts that can be read: run make build first."
        )
    configuration = CLIConfiguration()
    configuration.setup(dbt_profiles_path=profiles, dbt_project_path=PROJECT)
    query.main(["--quiet", *arguments], prog_name="make metrics", obj=configuration)


def main(arguments: Sequence[str]) -> int:
    """List the metrics, or answer a query; 1 with a sentence when it fails."""
    os.chdir(PROJECT)
    try:
        install_packages(PROJECT)
        profiles = ensure_profile(PROJECT)
        warehouse = find_warehouse(PROJECT, profiles, os.environ.get("TARGET"))
        manifest = semantic_manifest(warehouse)
        if arguments:
            answer(arguments, manifest, profiles, warehouse)
        client = AdapterBackedSqlClient(adapter(warehouse.kind))
        engine = MetricFlowEngine(SemanticManifestLookup(manifest), client)
        print("\n".join(listed(engine.list_metrics())))
    except (MetricsError, PackageError, ProfileError) as error:
        print(f"make metrics: {error}", file=sys.stderr)
        return 1
    return 0
