"""The graph of the project, which the commands of one process make again, and its summary."""

from __future__ import annotations

from itertools import chain
from typing import Any

from pipeline.dbt_runner.speed.patch import patch


class _Kept:
    """The last graph: what it was linked from, and the same with the edges from tests."""

    links: list[Any] | None = None
    graph: Any = None
    with_test_edges: dict[bool, Any]


_KEPT = _Kept()


def keep_graph() -> None:
    """Let a second command on the same project have the graph of the first."""
    patch("dbt.compilation", "Linker.link_graph", _linked_once)
    patch("dbt.compilation", "Linker.add_test_edges", _test_edges_added_once)
    patch("dbt.plugins.manager", "PluginManager.get_prefixed_modules", _searched_once)


def _linked_once(dbts_own: Any) -> Any:
    """Relies on a graph being that of the nodes' names and dependencies, and staying as it is.

    To link 600 nodes, to look for cycles and to add edges from tests is a quarter of the time of a
    second command that builds one model.
    """

    def link_graph(linker: Any, manifest: Any) -> None:
        links = _links(manifest)
        if _KEPT.links != links:
            dbts_own(linker, manifest)
            _KEPT.links, _KEPT.graph, _KEPT.with_test_edges = links, linker.graph, {}
        linker.graph = _KEPT.graph

    return link_graph


def _test_edges_added_once(dbts_own: Any) -> Any:
    """Relies on what `_linked_once` relies on, and on the flag that chooses between two ways."""
    from dbt.compilation import Linker
    from dbt.flags import get_flags

    Linker.link_graph  # noqa: B018  without it nothing would be kept

    def add_test_edges(linker: Any, manifest: Any) -> None:
        if linker.graph is not _KEPT.graph:
            dbts_own(linker, manifest)
            return
        way = bool(get_flags().USE_FAST_TEST_EDGES)
        if way not in _KEPT.with_test_edges:
            linker.graph = linker.graph.copy()  # that without these edges is kept too
            dbts_own(linker, manifest)
            _KEPT.with_test_edges[way] = linker.graph
        linker.graph = _KEPT.with_test_edges[way]

    return add_test_edges


def _links(manifest: Any) -> list[Any]:
    """All that has a place in a graph, with what it depends on."""
    members = chain(
        manifest.nodes.values(),
        manifest.semantic_models.values(),
        manifest.exposures.values(),
        manifest.functions.values(),
        manifest.metrics.values(),
        manifest.unit_tests.values(),
        manifest.saved_queries.values(),
    )
    return [list(manifest.sources), *((m.unique_id, list(m.depends_on_nodes)) for m in members)]


def _searched_once(dbts_own: Any) -> Any:
    """Relies on no plugin being installed while this process runs.

    dbt looks for them in all folders with modules, for each command.
    """
    found: dict[str, Any] = {}

    def get_prefixed_modules(cls: Any) -> dict[str, Any]:
        if cls.PLUGIN_MODULE_PREFIX not in found:
            found[cls.PLUGIN_MODULE_PREFIX] = dbts_own(cls)
        return dict(found[cls.PLUGIN_MODULE_PREFIX])

    return get_prefixed_modules


def summarise_graph() -> None:
    """Let the summary of the graph read the nodes, instead of turning all into dictionaries."""
    patch("dbt.compilation", "Linker.get_graph_summary", _summary_of_nodes)


def _summary_of_nodes(_: Any) -> Any:
    """Relies on the summary holding names, kinds and followers of nodes.

    dbt turns each node with all its texts into a dictionary, to read its kind.
    """
    from dbt.contracts.graph.manifest import Manifest

    node_of = Manifest.expect

    def get_graph_summary(linker: Any, manifest: Any) -> dict[int, dict[str, Any]]:
        numbers = {name: number for number, name in enumerate(linker.graph)}
        summary: dict[int, dict[str, Any]] = {}
        for name, number in numbers.items():
            kind = node_of(manifest, name).resource_type
            summary[number] = {"name": name, "type": getattr(kind, "value", kind)}
            if followers := [numbers[other] for other in linker.graph.successors(name)]:
                summary[number]["succ"] = followers
        return summary

    return get_graph_summary
