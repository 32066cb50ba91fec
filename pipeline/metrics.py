"""List the shop's metrics, or ask for them: what `make metrics` runs.

    python scripts/metrics.py
    python scripts/metrics.py --metrics revenue --group-by location__territory

Without arguments it says what each means, and by what it can be asked for. Arguments are those of
`mf query`, which answers. `mf` itself would also ask the package index for its newest version.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dbt.adapters.factory import get_adapter_by_type
from dbt.cli.main import dbtRunner
from dbt_metricflow.cli.cli_configuration import CLIConfiguration
from dbt_metricflow.cli.dbt_connectors.adapter_backed_client import AdapterBackedSqlClient
from dbt_metricflow.cli.dbt_connectors.dbt_config_accessor import dbtArtifacts
from dbt_metricflow.cli.main import query
from metricflow.engine.metricflow_engine import MetricFlowEngine
from metricflow_semantics.model.semantic_manifest_lookup import SemanticManifestLookup

from pipeline.dbt_packages import PackageError, install_packages
from pipeline.warehouse import ProfileError, Target, ensure_profile, resolve_target

PROJECT = Path(__file__).resolve().parents[1]
INDENT = " " * 6


class MetricsError(RuntimeError):
    """The metrics cannot be had; the text says why and what to do."""


def parsed(target: Target) -> Any:
    """The metrics and what they are made of, as dbt understands the project now.

    Raises MetricsError.
    """
    done = dbtRunner().invoke(["--quiet", "parse", *target.options])
    if not done.success:
        raise MetricsError("dbt cannot read the project; it says above why.")
    return dbtArtifacts.build_semantic_manifest_from_dbt_project_root(PROJECT)


def listed(metrics: Iterable[Any]) -> Iterator[str]:
    """What each metric of MetricFlow's engine means; below those that share them, dimensions."""
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


def ask(arguments: Sequence[str], manifest: Any, profiles: Path, target: Target) -> None:
    """Answer as `mf query` does, and exit as it does. Raises MetricsError."""
    if target.options:
        raise MetricsError(
            f"MetricFlow asks the default output of {profiles / 'profiles.yml'} alone: make"
            f" {target.name} its target."
        )
    mart = manifest.semantic_models[0].node_relation.relation_name
    if not target.ask(f"select count(*) from {mart}"):
        raise MetricsError(f"{target.place} has no marts that can be read: run make build first.")
    configuration = CLIConfiguration()
    configuration.setup(dbt_profiles_path=profiles, dbt_project_path=PROJECT)
    query.main(["--quiet", *arguments], prog_name="make metrics", obj=configuration)


def main(arguments: Sequence[str]) -> int:
    """List the metrics, or answer a question; 1 with a sentence where that cannot be."""
    os.chdir(PROJECT)
    try:
        install_packages(PROJECT)
        profiles = ensure_profile(PROJECT)
        target = resolve_target(PROJECT, profiles, os.environ.get("TARGET"))
        manifest = parsed(target)
        if arguments:
            ask(arguments, manifest, profiles, target)
        client = AdapterBackedSqlClient(get_adapter_by_type(target.kind))
        engine = MetricFlowEngine(SemanticManifestLookup(manifest), client)
        print("\n".join(listed(engine.list_metrics())))
    except (MetricsError, PackageError, ProfileError) as error:
        print(f"make metrics: {error}", file=sys.stderr)
        return 1
    return 0
